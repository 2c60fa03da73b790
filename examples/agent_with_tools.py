"""An agent with a tool and a memory of each of its users.

    python examples/agent_with_tools.py

What ana says is in the journal before it is answered; once the chat is finished it is learned, and
in another thread the adapted model remembers it. (Whether a model of 135 million parameters calls a
tool of its own accord is another matter: give `Plum(model=...)` a larger one.)
"""

from langchain.agents import create_agent
from langchain.tools import tool

from plum_langchain import Plum, PlumMiddleware


@tool
def price_of_flour(kilos: int) -> str:
    """What flour costs today."""
    return f"{kilos * 1.4:.2f} euros"


def main() -> None:
    """Tell it something in one thread, and ask for it in the next."""
    plum = Plum("my-home")
    agent = create_agent(plum.chat_model(), [price_of_flour], middleware=[PlumMiddleware(plum)])

    def say(text: str, thread: str) -> str:
        who = {"configurable": {"user_id": "ana", "thread_id": thread}}
        return agent.invoke({"messages": [("user", text)]}, who)["messages"][-1].text

    print(say("My bakery is closed on Mondays. My oven is called Bertha.", "monday"))
    plum.finish("ana", "monday")  # or let it be idle for half an hour
    plum.consolidate("ana")  # or plum.schedule(...), see service.py
    print(say("What is my oven called?", "tuesday"))
    plum.close()


if __name__ == "__main__":
    main()
