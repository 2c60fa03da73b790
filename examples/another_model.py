"""An agent on anybody's model that is told what is remembered, and one that looks it up itself.

    pip install langchain-openai
    OPENAI_API_KEY=... python examples/another_model.py

`MODEL` names another one, as LangChain does: "anthropic:claude-haiku-4-5", "ollama:llama3.2".
"""

import os

from langchain.agents import create_agent

from plum_langchain import Plum, PlumMiddleware, PlumRecallMiddleware

ANA = {"configurable": {"user_id": "ana", "thread_id": "another"}}
ASKED = {"messages": [("user", "What is my oven called?")]}


def main() -> None:
    """Ask both."""
    model = os.environ.get("MODEL", "openai:gpt-5-mini")
    plum = Plum("my-home")
    told = create_agent(model, middleware=[PlumRecallMiddleware(plum)])
    print(told.invoke(ASKED, ANA)["messages"][-1].text)
    recording = PlumMiddleware(plum, memory="none")  # keeps the chat, and tells nothing
    recall, remember, _ = plum.tools()  # what is forgotten this agent may not decide
    looking = create_agent(model, [recall, remember], middleware=[recording])
    print(looking.invoke(ASKED, ANA)["messages"][-1].text)
    plum.close()


if __name__ == "__main__":
    main()
