"""What was said before: a ChatGPT export, and the threads of a LangGraph checkpointer.

    python examples/import_history.py [conversations.json or the export's .zip]

Without a file it writes a small export of its own. A second run adds nothing.
"""

import json
import sys
import tempfile
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver

from plum_langchain import Plum
from plum_langchain.importers import read_chatgpt, read_threads


def main() -> None:
    """Import both; `plum.consolidate("ana")` would learn them."""
    plum = Plum("my-home")
    export = Path(sys.argv[1]) if len(sys.argv) > 1 else _an_export()
    for session in read_chatgpt(export, "ana", on_broken=print):
        print(f"{session.session_id}: {plum.add_session(session)}")
    for session in read_threads(_threads()):  # of whichever users its runs named
        print(f"{session.session_id}: {plum.add_session(session)}")
    plum.close()


def _an_export() -> Path:
    said = {
        "author": {"role": "user"},
        "content": {"content_type": "text", "parts": ["My sourdough is called Gertrud."]},
    }
    conversation = {
        "conversation_id": "1f2e",
        "title": "Sourdough",
        "create_time": 1705608660.0,
        "mapping": {"one": {"message": said, "parent": None}},
        "current_node": "one",
    }
    path = Path(tempfile.mkdtemp()) / "conversations.json"
    path.write_text(json.dumps([conversation]), "utf-8")
    return path


def _threads() -> InMemorySaver:
    """Yours would be SQLite's or PostgreSQL's."""
    saver = InMemorySaver()
    agent = create_agent(FakeListChatModel(responses=["I see."]), checkpointer=saver)
    who = {"configurable": {"user_id": "ana", "thread_id": "old-thread"}}
    agent.invoke({"messages": [("user", "My rye loaf takes 18 hours.")]}, who)
    return saver


if __name__ == "__main__":
    main()
