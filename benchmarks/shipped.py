"""Works out anew what the package ships for the default model, after its prompts or pairs changed.

    python benchmarks/shipped.py

That is the judge (`plum_langchain/verdicts/judges`, five minutes), the writer of questions
(`plum_langchain/writer/writers`, a quarter of an hour), what tells messages that ask for memory
from others whatever the model is (`plum_langchain/scope/readouts`, a minute), and the base model's
replies to the everyday prompts (`plum_langchain/consolidation/everyday`). Name some of them (judge,
writer, readout, everyday) to leave the others as they are. For other models, and whenever these
don't fit any more, they are worked out at first use and kept in the user's cache.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import plum_langchain
from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.consolidation.everyday import exchanges_name, write_exchanges
from plum_langchain.models import Engine, load_model, resolve_model
from plum_langchain.scope import Scope
from plum_langchain.settings import DEFAULT_MODEL
from plum_langchain.verdicts import Judge
from plum_langchain.verdicts.pairs import shipped_pairs
from plum_langchain.writer import Writer
from plum_langchain.writer.examples import shipped_examples

PACKAGE = Path(plum_langchain.__file__).parent


def main() -> None:
    """Make them, then put each in the place of the one that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help=f"of {', '.join(MAKERS)}; all by default")
    named = parser.parse_args().what or list(MAKERS)
    if unknown := set(named) - MAKERS.keys():
        parser.error(f"{', '.join(unknown)}: use {', '.join(MAKERS)}")
    resolved = resolve_model(DEFAULT_MODEL)
    engine = Engine(
        lambda: resolved, AdapterStore(Path("no-adapters")), ServingSettings(device="cpu")
    )
    for name in named:
        room, make = MAKERS[name]
        with tempfile.TemporaryDirectory() as directory:
            made = Path(directory) / "made"
            made.mkdir()
            make(engine, made)
            shutil.rmtree(PACKAGE / room, ignore_errors=True)
            shutil.copytree(made, PACKAGE / room)


def _judge(engine: Engine, directory: Path) -> None:
    judge = Judge(engine)
    (directory / judge.name).mkdir()
    judge.teach(directory / judge.name, shipped_pairs())


def _writer(engine: Engine, directory: Path) -> None:
    writer = Writer(engine, Judge(engine))
    (directory / writer.name).mkdir()
    writer.teach(directory / writer.name, shipped_examples())


def _readout(engine: Engine, directory: Path) -> None:
    scope = Scope()
    scope.fit_once(directory / scope.name)


def _everyday(engine: Engine, directory: Path) -> None:
    resolved = engine.base.resolved
    base = load_model(resolved, device="cpu")
    write_exchanges(base, directory / exchanges_name(resolved.fingerprint), lambda: False)


MAKERS = {
    "judge": ("verdicts/judges", _judge),
    "writer": ("writer/writers", _writer),
    "readout": ("scope/readouts", _readout),
    "everyday": ("consolidation/everyday", _everyday),
}


if __name__ == "__main__":
    main()
