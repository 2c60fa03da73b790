"""The command line: `plum import`, `chat`, `consolidate`, `ask`, `compare`, `forget` and the rest.

Each command opens a home, calls `Plum` and hands what comes back to `reports`. Nothing heavy is
imported before a command needs it, so that `plum --help` answers at once.
"""

from plum_langchain.cli import terminal
from plum_langchain.cli.app import app

# Importing a module registers its commands; `plum --help` lists them in this order.
# isort: off
from plum_langchain.cli import chats, learning, asking, comparing, forgetting  # noqa: F401
# isort: on

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    terminal.prepare()
    app(prog_name="plum")
