"""A LangGraph graph of one's own: look up what is remembered, then reply.

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
        user = config["configurable"]["user_id"]
        return {"messages": [model.invoke(state["messages"], user_id=user)]}

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
    found = graph_of(plum).invoke(asked, {"configurable": {"user_id": "ana"}})
    print("Remembered:", *found["remembered"], sep="\n- ")
    print("Replied:", found["messages"][-1].text)
    plum.close()


if __name__ == "__main__":
    main()
