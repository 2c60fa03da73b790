"""The same question to every memory, by one word.

    python examples/swap_memories.py

"parametric" answers with the user's adapter, "retrieval" reads text from Chroma, "hybrid" does
both, "none" is the base model. The prompt's tokens tell what each costs.
"""

from plum_langchain import Plum

QUESTION = "What is my oven called?"


def main() -> None:
    """Ask each of them."""
    plum = Plum("my-home")
    model = plum.chat_model("ana")
    for memory in ("parametric", "retrieval", "hybrid", "none"):
        reply = model.invoke(QUESTION, memory=memory)
        tokens = reply.usage_metadata["input_tokens"]
        print(f"{memory:10} ({tokens} tokens of prompt): {reply.text}")
    plum.close()


if __name__ == "__main__":
    main()
