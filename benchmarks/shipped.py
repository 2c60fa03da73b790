"""Works out anew what the package ships for the default model, after its prompts or pairs changed.

    python benchmarks/shipped.py

That is the judge (`plum_langchain/verdicts/judges`, five minutes) and the base model's replies to
the everyday prompts (`plum_langchain/consolidation/everyday`). For other models, and whenever these
don't fit any more, both are worked out at first use and kept in the user's cache.
"""

import shutil
import tempfile
from pathlib import Path

import plum_langchain
from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.consolidation.everyday import exchanges_name, write_exchanges
from plum_langchain.models import Engine, load_model, resolve_model
from plum_langchain.settings import DEFAULT_MODEL
from plum_langchain.verdicts import Judge
from plum_langchain.verdicts.pairs import shipped_pairs

PACKAGE = Path(plum_langchain.__file__).parent


def main() -> None:
    """Make both, then put them in the place of those that are there."""
    resolved = resolve_model(DEFAULT_MODEL)
    engine = Engine(
        lambda: resolved, AdapterStore(Path("no-adapters")), ServingSettings(device="cpu")
    )
    judge = Judge(engine)
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory)
        (made / "everyday").mkdir()
        name = exchanges_name(resolved.fingerprint)
        write_exchanges(load_model(resolved, device="cpu"), made / "everyday" / name, lambda: False)
        (made / "judges" / judge.name).mkdir(parents=True)
        judge.teach(made / "judges" / judge.name, shipped_pairs())
        for room in ("verdicts/judges", "consolidation/everyday"):
            shutil.rmtree(PACKAGE / room, ignore_errors=True)
            shutil.copytree(made / Path(room).name, PACKAGE / room)


if __name__ == "__main__":
    main()
