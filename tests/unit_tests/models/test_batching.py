"""Several requests in one generation: each is answered as if it were alone."""

import gc
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import DamagedAdapterError
from plum_langchain.models import Engine, Reply, Sampling, Toolbox
from plum_langchain.models.collector import Collector
from plum_langchain.models.generation import Job, Jobs
from plum_langchain.models.lora import LoraSwitch
from tests.unit_tests.models.conftest import ASKED, GREEDY, TOLD, Shelf, chat
from tests.unit_tests.models.test_calls import NOW
from tests.unit_tests.models.test_grammar import SCHEMA

Request = dict[str, Any]


def at_once(engine: Engine, requests: Sequence[Request]) -> list[Reply | BaseException]:
    """The replies to requests that come at the same time, or the errors."""
    found: list[Reply | BaseException] = [AssertionError("no reply")] * len(requests)

    def ask(place: int, request: Request) -> None:
        try:
            found[place] = engine.chat(**request)
        except BaseException as error:
            found[place] = error

    engine.base  # loaded before the clock of those expected runs  # noqa: B018
    threads = [threading.Thread(target=ask, args=one) for one in enumerate(requests)]
    with engine.expecting(len(requests)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    return found


def request(adapter: AdapterRef | None, said: str = ASKED, **sampling: Any) -> Request:
    return {"messages": chat(said), "adapter": adapter, "sampling": replace(GREEDY, **sampling)}


@pytest.fixture
def engine(shelf: Shelf) -> Engine:
    return shelf.engine()


@pytest.fixture
def everybody(shelf: Shelf) -> list[Request]:
    """Requests of all users and of nobody, that differ in all that can differ."""
    refs = shelf.refs
    return [
        *(request(refs[user]) for user in TOLD),
        request(None),
        request(refs["ana"], "Hi", max_new_tokens=3),
        request(refs["bo"], ASKED + " Or so, I believe, but I may be wrong.", stop=("week",)),
        request(refs["dara"], temperature=3.0, seed=1, max_new_tokens=12),
        request(None, temperature=3.0, top_p=0.5, seed=2, max_new_tokens=12),
        request(refs["chidi"], schema=SCHEMA, max_new_tokens=80, temperature=2.0, seed=3),
        {**request(None, max_new_tokens=60), "tools": Toolbox((NOW,), "any")},
    ]


def test_together_each_is_answered_as_alone(
    engine: Engine, shelf: Shelf, everybody: list[Request], count_steps: Any
) -> None:
    steps = count_steps(engine)
    alone = [engine.chat(**one) for one in everybody]
    apart = steps[0]
    together = at_once(shelf.engine(max_batch=16), everybody)
    assert together == alone
    for user, reply in zip(TOLD, together, strict=False):
        assert isinstance(reply, Reply) and reply.text.startswith(TOLD[user])

    batched = shelf.engine(max_batch=16)
    steps = count_steps(batched)
    at_once(batched, everybody)
    assert steps[0] < 0.6 * apart  # the longest alone is two fifths of it


@pytest.mark.parametrize(
    ("serving", "rows_apart"), [({"max_batch": 1}, True), ({"merge": True}, True), ({}, False)]
)
def test_what_can_not_go_together_goes_one_after_another(
    engine: Engine,
    shelf: Shelf,
    everybody: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    serving: dict[str, Any],
    rows_apart: bool,
) -> None:
    alone = [engine.chat(**one) for one in everybody]
    monkeypatch.setattr(LoraSwitch, "rows_apart", property(lambda _: rows_apart))
    monkeypatch.setattr(LoraSwitch, "use_per_row", None)
    assert at_once(shelf.engine(**serving), everybody) == alone


def test_rows_are_apart_in_the_tiny_model_and_not_in_one_that_heaps_tokens(
    engine: Engine,
) -> None:
    model, switch = engine.base.model, engine._switch
    assert switch is not None and switch.rows_apart
    mlp = model.model.layers[0].mlp
    forward = mlp.forward
    mlp.forward = lambda x: forward(x.flatten(0, 1)).view(x.shape)
    switch._apart = None
    assert not switch.rows_apart


def test_an_adapter_that_is_damaged_fails_alone(
    engine: Engine, shelf: Shelf, tmp_path: Any
) -> None:
    damaged = replace(shelf.refs["ana"], manifest_sha256="0" * 64)
    requests = [request(shelf.refs["bo"]), request(damaged), request(None)]
    bo, broken, base = at_once(engine, requests)
    assert isinstance(broken, DamagedAdapterError)
    assert [bo, base] == [engine.chat(**requests[0]), engine.chat(**requests[2])]


def test_a_batch_that_breaks_is_tried_one_by_one(
    engine: Engine, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [request(shelf.refs["ana"]), request(shelf.refs["bo"]), request(None)]
    alone = [engine.chat(**one) for one in requests]
    generate = engine.base.model.generate

    def picky(input_ids: Any, **options: Any) -> Any:
        if len(input_ids) > 1:
            raise RuntimeError("out of memory")
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(engine.base.model, "generate", picky)
    assert at_once(engine, requests) == alone


def test_streams_come_together_and_one_that_is_closed_ends_alone(
    engine: Engine, shelf: Shelf
) -> None:
    alone = {user: engine.chat(**request(ref)) for user, ref in shelf.refs.items()}
    found: dict[str, list[Any]] = {}

    def read(user: str) -> None:
        one = request(shelf.refs[user])
        stream = engine.stream_chat(one["messages"], one["adapter"], one["sampling"])
        found[user] = []
        for piece in stream:
            found[user].append(piece)
            if user == "bo":
                break
        stream.close()  # type: ignore[attr-defined]

    threads = [threading.Thread(target=read, args=(user,)) for user in TOLD]
    with engine.expecting(len(threads)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for user in ("ana", "chidi", "dara"):
        *pieces, reply = found[user]
        assert reply == alone[user] and "".join(pieces) == reply.text
    assert len(found["bo"]) == 1


def test_a_short_reply_of_a_form_that_leads_is_not_spoilt_by_the_rest(
    engine: Engine, shelf: Shelf
) -> None:
    flag = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
    requests = [
        request(None, schema=flag, max_new_tokens=20),
        request(shelf.refs["ana"], max_new_tokens=150),
    ]
    assert at_once(engine, requests) == [engine.chat(**one) for one in requests]


def test_a_batch_that_breaks_on_its_way_is_begun_anew(
    engine: Engine, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {"schema": SCHEMA, "max_new_tokens": 80, "logprobs": 2}
    requests = [request(shelf.refs["ana"], **drawn), request(shelf.refs["bo"], logprobs=0)]
    alone = [engine.chat(**one) for one in requests]
    steps = [0]

    def fail_once(*_: Any) -> None:
        steps[0] += 1
        if steps[0] == 7:
            raise RuntimeError("out of memory")

    engine.base.model.register_forward_hook(fail_once)
    assert at_once(engine, requests) == alone and steps[0] > 7


def test_a_request_that_waits_and_is_cancelled_waits_no_longer(engine: Engine) -> None:
    engine.base.model.generation_config.eos_token_id = 1_000_000
    engine.chat(**request(None, max_new_tokens=1))
    long = threading.Thread(
        target=engine.chat, kwargs=request(None, max_new_tokens=900), daemon=True
    )
    long.start()
    while engine._jobs.thread is None:
        time.sleep(0.001)
    cancelled = threading.Event()
    threading.Timer(0.05, cancelled.set).start()
    reply = engine.chat(**request(None, max_new_tokens=900), cancelled=cancelled)
    assert reply.completion_tokens == 0 and long.is_alive()
    long.join(60)


def test_an_abandoned_stream_that_is_collected_while_generating_locks_nothing(
    engine: Engine,
) -> None:
    """Python may collect a cycle in any thread: in the one that generates, too."""
    engine.base.model.generation_config.eos_token_id = 1_000_000
    one = request(None, max_new_tokens=300)
    stream = engine.stream_chat(one["messages"], None, one["sampling"])
    next(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    collected = []
    hook = engine.base.model.register_forward_hook(lambda *_: collected.append(gc.collect()))
    del stream, cycle
    done: list[Reply] = []
    asking = threading.Thread(
        target=lambda: done.append(engine.chat(**request(None, max_new_tokens=5))), daemon=True
    )
    asking.start()
    asking.join(30)
    hook.remove()
    assert done and done[0].completion_tokens == 5


def test_who_is_done_need_not_wait_for_the_others(engine: Engine, shelf: Shelf) -> None:
    engine.base.model.generation_config.eos_token_id = 1_000_000
    engine.chat(**request(None, max_new_tokens=1))  # whatever takes time once is over
    order: list[int] = []

    def ask(tokens: int) -> None:
        engine.chat(**request(None, max_new_tokens=tokens))
        order.append(tokens)

    threads = [threading.Thread(target=ask, args=(tokens,)) for tokens in (400, 2)]
    with engine.expecting(2):
        threads[0].start()  # it generates for both
        threads[1].start()
        for thread in threads:
            thread.join(60)
    assert order == [2, 400]


def test_nor_when_it_came_first(engine: Engine) -> None:
    engine.base.model.generation_config.eos_token_id = 1_000_000
    engine.chat(**request(None, max_new_tokens=1))
    order: list[int] = []

    def ask(tokens: int) -> None:
        engine.chat(**request(None, max_new_tokens=tokens))
        order.append(tokens)

    threads = [threading.Thread(target=ask, args=(tokens,)) for tokens in (2, 400)]
    with engine.expecting(2):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert order == [2, 400]


# -- who goes with whom ------------------------------------------------------------------------


def job(length: int, adapter: AdapterRef | None = None) -> Job:
    return Job([1] * length, adapter, Sampling(), 10, Collector(None, length, (), None, None))


@pytest.fixture
def waiting() -> Callable[..., Jobs]:
    def of(*jobs: Job) -> Jobs:
        made = Jobs()
        made._waiting = list(jobs)
        return made

    return of


def test_little_is_padded(waiting: Callable[..., Jobs]) -> None:
    short, like, long = job(20), job(25), job(500)
    jobs = waiting(short, long, like)
    assert jobs.take(short, 8, one_adapter=False) == [short, like]
    assert jobs.take(long, 8, one_adapter=False) == [long]


def test_no_more_than_fit_and_those_who_came_first(waiting: Callable[..., Jobs]) -> None:
    several = [job(20) for _ in range(5)]
    assert waiting(*several).take(several[4], 3, one_adapter=False) == [
        several[4], several[0], several[1],
    ]  # fmt: skip


def test_no_row_leaves_the_models_positions_while_another_goes_on(
    waiting: Callable[..., Jobs],
) -> None:
    near, roomy = job(90), job(80)
    roomy.room = 40
    assert waiting(near, roomy).take(near, 8, limit=128) == [near]
    assert waiting(near, roomy).take(near, 8, limit=256) == [near, roomy]


def test_those_on_one_adapter(waiting: Callable[..., Jobs], shelf: Shelf) -> None:
    ana, bo, other = (job(20, shelf.refs[user]) for user in ("ana", "bo", "ana"))
    assert waiting(ana, bo, other).take(ana, 8, one_adapter=True) == [ana, other]
