"""How fast the adapted model answers, next to the base model and to plain transformers.

    python benchmarks/serving.py --json serving.json

Two adapters of random weights, in the shape the settings give, stand for two users: what they say
is of no interest, only how long it takes. An adapter is computed beside the base weights, or merged
into a copy of them (`ServingSettings.merge`). What a chat model does beside the engine (finding the
user's generation, telling what asks for memory) is timed with a user who was taught one short chat.
Every measure is taken in turn with those it is compared with, `--rounds` times, in one process.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import CHATS, shelve, shown, spread

from plum_langchain import LearningSettings, Plum, ServingSettings, Session, Turn
from plum_langchain.adapters import AdapterRef, AdapterStore
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.learning.lora import attached, save
from plum_langchain.models import Engine, ResolvedModel, Sampling, load_model, resolve_model

PROMPT = [
    {"role": "system", "content": "You remember what the user told you."},
    {"role": "user", "content": "Tell me a long story about a bakery by the sea and its owner."},
]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    resolved = resolve_model(arguments.model)
    with tempfile.TemporaryDirectory() as directory:
        store = AdapterStore(Path(directory))
        users = [_random_adapter(store, resolved, name, seed) for seed, name in enumerate("ab")]
        report = _measure(store, resolved, users, arguments)
        report["chat_models"] = _chat_models(Path(directory) / "home", arguments)
    print(_table(report))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1), "utf-8")


def _random_adapter(
    store: AdapterStore, resolved: ResolvedModel, owner: str, seed: int
) -> AdapterRef:
    import torch

    settings = LearningSettings(seed=seed)
    base = load_model(resolved, device="cpu")

    def fill(place: Path) -> None:
        with attached(base.model, None, settings) as (adapted, _):
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:  # it begins with zeros
                    torch.nn.init.normal_(parameter, std=1e-4)
            save(adapted, place)

    return shelve(store, resolved, owner, settings, fill)


def _measure(
    store: AdapterStore,
    resolved: ResolvedModel,
    users: list[AdapterRef],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    import torch

    engine = Engine(lambda: resolved, store, ServingSettings(device="cpu", dtype=arguments.dtype))
    serving = ServingSettings(device="cpu", dtype=arguments.dtype, merge=True)
    merged = Engine(lambda: resolved, store, serving)
    plain, half, compiled = (
        load_model(resolved, device="cpu", dtype=dtype)
        for dtype in ("float32", arguments.dtype, arguments.dtype)
    )
    compiled.model.forward = torch.compile(compiled.model.forward, dynamic=True)
    static = {"cache_implementation": "static"}
    ways: dict[str, Callable[[int], float]] = {
        "transformers": lambda n: _plain_seconds(plain, n),
        "... in the served dtype": lambda n: _plain_seconds(half, n),
        "... and a static cache": lambda n: _plain_seconds(half, n, **static),
        "... and compiled": lambda n: _plain_seconds(compiled, n, **static),
        "base": lambda n: _engine_seconds(engine, None, n),
        "beside": lambda n: _engine_seconds(engine, users[0], n),
        "merged": lambda n: _engine_seconds(merged, users[0], n),
    }
    first: dict[str, list[float]] = {name: [] for name in ways}
    rate: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(arguments.rounds + 1):
        for name, seconds in ways.items():
            to_first, whole = seconds(1), seconds(arguments.tokens)
            if run:  # the first round warms up
                first[name].append(to_first)
                rate[name].append((arguments.tokens - 1) / (whole - to_first))
    engines = {"beside": engine, "merged": merged}
    return {
        "first_token_seconds": {name: spread(found) for name, found in first.items()},
        "tokens_per_second": {name: spread(found) for name, found in rate.items()},
        **{
            f"{name}_to_base": {
                "first_token": _ratio(first[name], first["base"]),
                "tokens_per_second": _ratio(rate[name], rate["base"]),
            }
            for name in engines
        },
        **{
            f"{name}_to_transformers": {
                "first_token": _ratio(first[name], first["transformers"]),
                "tokens_per_second": _ratio(rate[name], rate["transformers"]),
            }
            for name in engines
        },
        "together": _together(engine, users, arguments),
        "switching": {name: _switching(e, users, arguments.rounds) for name, e in engines.items()},
        "dtype": arguments.dtype,
        "machine": machine(),
    }


NO_MEMORY = "no memory"
ASKED = {"for memory": "When is my bakery closed?", "other": "Tell me a story of a bakery."}


def _chat_models(home: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """To the first token of a chat model's reply, of a user with an adapter and without memory.

    The message is the first of a chat, or stands behind the ten of one of the example chats.
    """
    chosen = ServingSettings(device="cpu", dtype=arguments.dtype, merge=True)
    quick = LearningSettings(epochs=1, everyday_per_batch=0, rewordings=0, gate=None)
    plum = Plum(home, model=arguments.model, learning=quick, serving=chosen)
    told = Turn(role="user", content="My bakery is closed on Mondays. My dog is called Rex.")
    plum.add_session(Session("ana", "monday", (told,)))
    plum.finish("ana", "monday")
    plum.consolidate("ana", questions="statements")
    always = Plum(home, model=arguments.model, serving=replace(chosen, scope=None))
    models = {
        NO_MEMORY: plum.chat_model("ana", memory="none"),
        "of a user": plum.chat_model("ana"),
        "with scope=None": always.chat_model("ana"),
    }
    (exam,) = read_exams([CHATS / "bo.jsonl"], max_sessions=1)
    chats = {
        "first message": [],
        "later in a chat": [(turn.role, turn.content) for turn in exam.sessions[0].turns],
    }
    kinds = list(itertools.product(ASKED, chats))
    seconds: dict[str, dict[str, list[float]]] = {}
    for run in range(arguments.rounds + 1):
        for asked, when in kinds:
            of_kind = seconds.setdefault(f"{asked}, {when}", {name: [] for name in models})
            for name, model in models.items():
                started = time.perf_counter()
                reply = model.invoke([*chats[when], ("user", ASKED[asked])], max_tokens=1)
                if run:
                    of_kind[name].append(time.perf_counter() - started)
                adapted = model.plum is always or (name == "of a user" and asked == "for memory")
                assert reply.response_metadata["generation"] == (1 if adapted else None)
    for opened in (plum, always):
        opened.close()
    return {
        kind: {
            name: {"seconds": spread(found), "to_no_memory": _ratio(found, of_kind[NO_MEMORY])}
            for name, found in of_kind.items()
        }
        for kind, of_kind in seconds.items()
    }


def _together(
    engine: Engine, users: list[AdapterRef], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Several requests of two users and of nobody: one after another, and at the same time."""
    found: dict[int, list[float]] = {number: [] for number in (2, 4, 8)}
    for _ in range(arguments.rounds):
        for number, ratios in found.items():
            adapters = [(*users, None)[place % 3] for place in range(number)]
            started = time.perf_counter()
            for adapter in adapters:
                _engine_seconds(engine, adapter, arguments.tokens)
            alone = time.perf_counter() - started
            started = time.perf_counter()
            with ThreadPoolExecutor(number) as pool, engine.expecting(number):
                list(pool.map(lambda a: _engine_seconds(engine, a, arguments.tokens), adapters))
            ratios.append(alone / (time.perf_counter() - started))
    return {str(number): spread(ratios) for number, ratios in found.items()}


def _switching(engine: Engine, users: list[AdapterRef], rounds: int) -> dict[str, Any]:
    """From one user to another: from disk, and where both are loaded."""
    found: dict[str, list[float]] = {"load_seconds": [], "switch_seconds": []}
    for _ in range(rounds):
        for user in users:
            engine.drop(user.owner)
        for seconds in found.values():
            for user in users:
                started = time.perf_counter()
                with engine._activated(user):
                    seconds.append(time.perf_counter() - started)
    return {name: spread(seconds) for name, seconds in found.items()}


def _engine_seconds(engine: Engine, adapter: AdapterRef | None, tokens: int) -> float:
    started = time.perf_counter()
    reply = engine.chat(PROMPT, adapter, Sampling(max_new_tokens=tokens))
    seconds = time.perf_counter() - started
    assert reply.completion_tokens == tokens, f"it ended after {reply.completion_tokens} tokens"
    return seconds


def _plain_seconds(base: Any, tokens: int, **options: Any) -> float:
    """`generate` as the documentation of transformers has it."""
    import torch

    started = time.perf_counter()
    inputs = base.tokenizer.apply_chat_template(
        PROMPT, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        base.model.generate(**inputs, max_new_tokens=tokens, do_sample=False, **options)
    return time.perf_counter() - started


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def _table(report: dict[str, Any]) -> str:
    rows = ["| | first token, ms | tokens a second |", "| --- | --- | --- |"]
    for name in report["tokens_per_second"]:
        first = shown(report["first_token_seconds"][name], 0, 1000)
        rate = shown(report["tokens_per_second"][name], 1)
        rows.append(f"| {name} | {first} | {rate} |")
    rows += ["", "| | first token | tokens a second | from disk, ms | loaded, ms |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for name, times in report["switching"].items():
        disk, loaded = (shown(times[k], 1, 1000) for k in ("load_seconds", "switch_seconds"))
        for other in ("base", "transformers"):
            ratios = report[f"{name}_to_{other}"]
            cells = [shown(ratios[k], 2) for k in ("first_token", "tokens_per_second")]
            rows.append("| " + " | ".join([f"{name}, to {other}", *cells, disk, loaded]) + " |")
            disk = loaded = ""
    rows += ["", "| requests at the same time | quicker than one after another |", "| --- | --- |"]
    rows += [f"| {number} | {shown(found, 2)}x |" for number, found in report["together"].items()]
    names = list(next(iter(report["chat_models"].values())))
    rows += ["", "| a chat model's first token, ms | " + " | ".join(names) + " |"]
    rows.append("| --- |" + " --- |" * len(names))
    for kind, found in report["chat_models"].items():
        cells = [shown(found[name]["seconds"], 0, 1000) for name in names]
        for n, name in enumerate(names[1:], 1):
            cells[n] += f" ({shown(found[name]['to_no_memory'], 2)})"
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", default="auto", help="of the served model")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
