"""A ConversationChain whose model remembers.

    python examples/classic_chain.py

LangChain deprecates its classic chains; this is for those that people still have.
"""

from langchain_classic.chains import ConversationChain

from plum_langchain import Plum


def main() -> None:
    """Chat, and finish the session."""
    plum = Plum("my-home")
    memory = plum.memory("ana", session_id="chain")
    chain = ConversationChain(llm=plum.llm("ana"), memory=memory)
    print(chain.predict(input="What is my oven called?"))
    print(chain.predict(input="Thanks!"))
    memory.clear()  # finishes the session: it will be learned, and the chain starts afresh
    plum.close()


if __name__ == "__main__":
    main()
