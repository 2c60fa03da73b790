"""Works out anew what the package ships for the default model, after what it is made from changed.

    python benchmarks/shipped.py

That is the judge (`plum_langchain/verdicts/judges`, five minutes), the writer of questions
(`plum_langchain/writer/writers`, a quarter of an hour), what tells messages that ask for memory
from others whatever the model is (`plum_langchain/scope/readouts`, a minute), the base model's
replies to the everyday prompts (`plum_langchain/consolidation/everyday`), and what it expects at
each of their places (`plum_langchain/consolidation/expected`, a minute; with new replies, or after
the system prompt of learning changed). Name some of them (judge, writer, readout, everyday,
expected) to leave the others as they are. For other models, and whenever these don't fit any more,
they are worked out at first use and kept in the user's cache.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import plum_langchain
from plum_langchain import LearningSettings, ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.consolidation.everyday import (
    encoded,
    everyday_exchanges,
    exchanges_name,
    expected_name,
    write_exchanges,
    write_expected,
)
from plum_langchain.learning import encoder_for
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
    if "everyday" in named:
        named.append("expected")
    for name in (name for name in MAKERS if name in named):
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


def _expected(engine: Engine, directory: Path) -> None:
    """With the settings as they are; whoever has others has it worked out once."""
    base = load_model(engine.base.resolved, device="cpu", dtype="float32")
    settings = LearningSettings()
    encoder = encoder_for(base.tokenizer, settings)
    exchanges = everyday_exchanges(base, lambda: False)
    samples = encoded(exchanges, encoder, settings.everyday_weight)
    write_expected(base, samples, directory / expected_name(base, samples), lambda: False)


MAKERS = {
    "judge": ("verdicts/judges", _judge),
    "writer": ("writer/writers", _writer),
    "readout": ("scope/readouts", _readout),
    "everyday": ("consolidation/everyday", _everyday),
    "expected": ("consolidation/expected", _expected),
}


if __name__ == "__main__":
    main()
