"""How well a verdict can be read from a base model that was shown the right statement.

    python benchmarks/verdicts.py

Every recorded fact of the example chats has three questions answered Yes by it and three answered
No. The read-out is fitted on one person and tried on another, and fitted on ana and bo (the pairs
that come with the package) and tried on chidi and dara; the layer is the one that is best between
ana and bo. It is compared with its parts, words alone (which of the question's are in the
statement) and the model's layer alone, and with the model asked in words.

    python benchmarks/verdicts.py --write

writes the package's pairs and the read-out for the default model instead.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from common import CHATS

from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.evaluation import machine
from plum_langchain.models import Engine, resolve_model
from plum_langchain.verdicts import judge
from plum_langchain.verdicts.head import best_layer, fit
from plum_langchain.verdicts.pairs import Pair
from plum_langchain.verdicts.words import FEATURES

PACKAGE = Path(judge.__file__).parent
TRIALS = ((("ana",), ("bo",)), (("bo",), ("ana",)), (("ana", "bo"), ("chidi", "dara")))


def main() -> None:
    """Measure and print, or write."""
    arguments = _arguments()
    resolved = resolve_model(arguments.model)
    serving = ServingSettings(device="cpu", dtype=arguments.dtype)
    engine = Engine(lambda: resolved, AdapterStore(Path("no-adapters")), serving)
    if arguments.write:
        shipped = pairs_of("ana", "bo")
        lines = [json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in shipped]
        (PACKAGE / "pairs.jsonl").write_text("".join(lines), "utf-8")
        head = judge.fitted(engine, shipped)
        (PACKAGE / "heads").mkdir(exist_ok=True)
        for old in (PACKAGE / "heads").iterdir():
            old.unlink()
        head.save(PACKAGE / "heads" / judge.Judge(engine).name)
        print(f"layer {head.layer} of {resolved.id}")
        return
    print(f"machine: {json.dumps(machine())}")
    print("| fitted on | tried on | questions | judged by | right | of Yes | of No |")
    print("|" + " --- |" * 7)
    read = {
        person: judge.features_of(engine, pairs_of(person))
        for person in ("ana", "bo", "chidi", "dara")
    }
    layer, _ = best_layer(*_together(read, TRIALS[-1][0]), _names(TRIALS[-1][0]))
    for fitted_on, tried_on in TRIALS:
        features, yes = _together(read, fitted_on)
        theirs, right = _together(read, tried_on)
        _judged(
            f"{', '.join(fitted_on)} | {', '.join(tried_on)}", layer, features, yes, theirs, right
        )
    if arguments.asked:
        _asked_in_words(engine, TRIALS[-1][1], arguments.asked)


def pairs_of(*people: str) -> list[Pair]:
    """The pairs of example chats."""
    pairs = []
    for person in people:
        for line in (CHATS / f"{person}.jsonl").read_text("utf-8").splitlines():
            for fact in json.loads(line)["facts"]:
                for yes, questions in ((True, fact["true"]), (False, fact["false"])):
                    pairs += [Pair(person, fact["statement"], one, yes) for one in questions]
    return pairs


def _together(
    read: dict[str, tuple[dict[int, torch.Tensor], torch.Tensor]], people: Sequence[str]
) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    features = [read[person][0] for person in people]
    yes = torch.cat([read[person][1] for person in people])
    return {layer: torch.cat([one[layer] for one in features]) for layer in features[0]}, yes


def _names(people: Sequence[str]) -> list[str]:
    return [pair.of for pair in pairs_of(*people)]


def _judged(
    who: str,
    layer: int,
    features: dict[int, torch.Tensor],
    yes: torch.Tensor,
    theirs: dict[int, torch.Tensor],
    right: torch.Tensor,
) -> None:
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "words alone": lambda x: x[:, -FEATURES:],
        f"layer {layer} alone": lambda x: x[:, :-FEATURES],
        "both": lambda x: x,
    }
    for name, of in ways.items():
        logits = fit(layer, of(features[layer]), yes).logits(of(theirs[layer]))
        print(f"| {who} | {len(right)} | {name} {_shares(logits > 0, right > 0)}", flush=True)


def _asked_in_words(engine: Engine, people: Sequence[str], number: int) -> None:
    pairs = pairs_of(*people)
    some = random.Random(0).sample(pairs, min(number, len(pairs)))
    said = torch.tensor([_asked(engine, pair) for pair in some])
    right = torch.tensor([pair.yes for pair in some])
    print(f"| - | {', '.join(people)} | {len(some)} | the model, asked {_shares(said, right)}")


def _asked(engine: Engine, pair: Pair) -> bool:
    chat = [
        {"role": "system", "content": pair.statement},
        {"role": "user", "content": f"{pair.question} Answer Yes or No."},
    ]
    return engine.yes_probability(chat, None)[0] > 0.5


def _shares(said: torch.Tensor, yes: torch.Tensor) -> str:
    found = (said == yes).float()
    return f"| {found.mean():.0%} | {found[yes].mean():.0%} | {found[~yes].mean():.0%} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--asked", type=int, default=400, help="questions the model is asked")
    parser.add_argument("--write", action="store_true", help="the package's pairs and read-out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
