"""A LangGraph graph of one's own: look up what is remembered, reply, and keep what was said.

    python examples/own_graph.py

The retriever finds out from the run whose memory it is, as the tools do.
"""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph

from plum_langchain import Plum


class State(MessagesState):
    """A chat, and what is remembered about its last message."""

    remembered: list[str]


def graph_of(plum: Plum) -> Any:
    """The compiled graph."""
    retriever = plum.retriever(k=2)
    model = plum.chat_model()

    def look_up(state: State, config: RunnableConfig) -> dict[str, Any]:
        found = retriever.invoke(state["messages"][-1].text, config)
        return {"remembered": [document.page_content for document in found]}

    def reply(state: State, config: RunnableConfig) -> dict[str, Any]:
        user, thread = (config["configurable"][name] for name in ("user_id", "thread_id"))
        plum.record(user, thread, state["messages"])  # before the reply: nothing said is lost
        replied = model.invoke(state["messages"], user_id=user)
        plum.record(user, thread, [*state["messages"], replied])
        return {"messages": [replied]}

    graph = StateGraph(State)
    graph.add_node("look_up", look_up)
    graph.add_node("reply", reply)
    graph.add_edge(START, "look_up")
    graph.add_edge("look_up", "reply")
    graph.add_edge("reply", END)
    return graph.compile()


def main() -> None:
    """Ask it."""
    plum = Plum("my-home")
    asked = {"messages": [("user", "What is my oven called?")]}
    who = {"configurable": {"user_id": "ana", "thread_id": "graph"}}
    found = graph_of(plum).invoke(asked, who)
    print("Remembered:", *found["remembered"], sep="\n- ")
    print("Replied:", found["messages"][-1].text)
    plum.close()


if __name__ == "__main__":
    main()
