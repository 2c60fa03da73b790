"""One generation for several requests: a padded batch in which each row is a request of its own.

A row has its own adapter, its own way of drawing tokens, its own end. What it says doesn't depend
on who else is in the batch, but for the last digits of a sum.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import PlumError
from plum_langchain.models.beams import ends_of
from plum_langchain.models.collector import Collector
from plum_langchain.models.grammar import Constraint
from plum_langchain.models.sampling import Sampling

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class Job:
    """A reply that is wanted.

    Attributes:
        prompt: As token ids.
        adapter: On top of the base model.
        sampling: How it is drawn.
        room: Tokens that it may have.
        collector: Told of each token; ends it at stop strings, or when it is cancelled.
        form: What it must be.
        ids: Its tokens, once it is done.
        ended: Whether the last of them is its own end.
        logprobs: Of each of them, if they are wanted: its own, and the likeliest (ids and theirs).
        error: Why there is none.
        done: There is a reply, or an error.
    """

    prompt: Sequence[int]
    adapter: AdapterRef | None
    sampling: Sampling
    room: int
    collector: Collector
    form: Constraint | None = None
    ids: list[int] = field(default_factory=list)
    ended: bool = False
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class Jobs:
    """Jobs in the order they came, and how many more are on their way.

    One thread generates at a time, for itself and for those that wait: a thread whose job is done
    goes on at once, one whose job isn't may be the next to generate.
    """

    def __init__(self) -> None:
        self._waiting: list[Job] = []
        self._expected = 0
        self._generating = False
        self._changed = threading.Condition()

    def run(self, job: Job, generate: Callable[[Job], None]) -> None:
        """Have a job done, by whoever generates, or by `generate` if nobody does.

        Raises:
            BaseException: the job's own error.
        """
        with self._changed:
            self._waiting.append(job)
            self._expected = max(0, self._expected - 1)
            self._changed.notify_all()
            while self._generating and not job.done:
                self._changed.wait()
            mine = not job.done
            self._generating = self._generating or mine
        if mine:
            try:
                generate(job)
            finally:
                with self._changed:
                    self._generating = False
                    self._changed.notify_all()
        if job.error is not None:
            raise job.error

    def finish(self, job: Job, error: BaseException | None = None) -> None:
        """A job is done, or will never be."""
        with self._changed:
            job.error = job.error or error
            job.done = True
            self._changed.notify_all()

    @contextmanager
    def expecting(self, number: int) -> Iterator[None]:
        """So many will come at nearly the same time: whoever is first waits a moment for them."""
        with self._changed:
            self._expected += number
        try:
            yield
        finally:
            with self._changed:
                self._expected = 0
                self._changed.notify_all()

    def take(self, first: Job, most: int, *, one_adapter: Callable[[], bool]) -> list[Job]:
        """This job, and those that can go with it.

        Args:
            first: Of those that wait.
            most: So many at most.
            one_adapter: Whether only those on the same adapter; asked where it makes a difference.
        """
        with self._changed:
            while self._expected and len(self._waiting) < most:
                if not self._changed.wait(_A_MOMENT):
                    break
            taken = [first]
            longest = tokens = len(first.prompt)
            for job in self._waiting:
                if job is first or len(taken) == most:
                    continue
                if job.adapter != first.adapter and one_adapter():
                    continue
                padded = max(longest, len(job.prompt)) * (len(taken) + 1)
                if padded <= _PADDED * (tokens + len(job.prompt)):
                    taken.append(job)
                    longest, tokens = max(longest, len(job.prompt)), tokens + len(job.prompt)
            self._waiting = [job for job in self._waiting if job not in taken]
            return taken


_A_MOMENT = 0.05
"""Seconds without another of those expected, after which nobody waits for them any longer."""

_PADDED = 1.5
"""Tokens read for each that is no padding, at most."""


def generate(
    model: Any, tokenizer: Any, jobs: Sequence[Job], finish: Callable[[Job], None]
) -> None:
    """Reply to all of them, with whatever adapters are on the rows.

    Args:
        model: A causal LM of transformers.
        tokenizer: Its own.
        jobs: A row each; what becomes of them is in them.
        finish: Told of each that is done.
    """
    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    longest = max(len(job.prompt) for job in jobs)
    pad = tokenizer.pad_token_id or tokenizer.eos_token_id or 0
    ids = torch.full((len(jobs), longest), pad)
    there = torch.zeros_like(ids)
    for row, job in enumerate(jobs):
        ids[row, longest - len(job.prompt) :] = torch.tensor(list(job.prompt))
        there[row, longest - len(job.prompt) :] = 1
    for job in jobs:
        job.collector.prompt_length = longest
        if job.form is not None:
            job.form.begin(longest, job.room)
    rows = _Rows(jobs, longest, ends_of(model, tokenizer), finish)
    chooses = any(
        job.form or job.sampling.draws or job.sampling.logprobs is not None for job in jobs
    )
    model.generate(
        input_ids=ids.to(model.device),
        attention_mask=there.to(model.device),
        max_new_tokens=max(job.room for job in jobs),
        logits_processor=LogitsProcessorList([_Choose(jobs, model.device)] if chooses else []),
        stopping_criteria=StoppingCriteriaList([rows]),
        pad_token_id=pad,
        do_sample=False,  # what is drawn is drawn by `_Choose`
        temperature=None,
        top_p=None,
        top_k=None,
    )


class _Rows:
    """A stopping criterion of transformers: which rows are at their end."""

    def __init__(
        self,
        jobs: Sequence[Job],
        prompt_length: int,
        ends: Sequence[int],
        finish: Callable[[Job], None],
    ) -> None:
        self._jobs = jobs
        self._prompt_length = prompt_length
        self._ends = ends
        self._finish = finish
        self._over = [False] * len(jobs)

    def __call__(self, ids: "torch.Tensor", scores: Any, **_: Any) -> "torch.Tensor":
        import torch

        for row, job in enumerate(self._jobs):
            if not self._over[row]:
                new = ids[row, self._prompt_length :].tolist()
                job.ended = new[-1] in self._ends
                stopped = bool(job.collector(ids[row : row + 1], None).item())
                self._over[row] = (
                    job.ended or stopped or len(new) >= job.room or job.error is not None
                )
                if self._over[row]:
                    job.ids = new
                    self._finish(job)
        return torch.tensor(self._over, device=ids.device)


class _Choose:
    """A logits processor of transformers: each row's token, by what it must be and how it is drawn.

    What is drawn is left as the only token that is possible, so that the likeliest is taken of all
    rows alike. A seed has a generator of its own: a reply is repeated whoever else is asked.
    """

    def __init__(self, jobs: Sequence[Job], device: Any) -> None:
        import torch

        self._jobs = jobs
        self._generators: list[torch.Generator | None] = []
        for job in jobs:
            seed = job.sampling.seed
            made = None if seed is None else torch.Generator(device).manual_seed(seed)
            self._generators.append(made)

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        rows = []
        for row, (job, generator) in enumerate(zip(self._jobs, self._generators, strict=True)):
            own = known = scores[row : row + 1]
            if job.form is not None and job.error is None:
                try:
                    own = job.form(ids[row : row + 1], own)
                except PlumError as error:  # of this row alone
                    job.error = error
            if job.sampling.draws:
                drawn = torch.multinomial(_probabilities(own, job.sampling), 1, generator=generator)
                own = torch.full_like(own, -torch.inf).scatter_(1, drawn, 0.0)
            if job.sampling.logprobs is not None and not job.done:
                job.logprobs.append(_logprobs(known[0], int(own.argmax()), job.sampling.logprobs))
            rows.append(own)
        return torch.cat(rows)


def _logprobs(
    scores: "torch.Tensor", token: int, number: int
) -> tuple[float, list[tuple[int, float]]]:
    found = scores.float().log_softmax(-1)
    top = found.topk(number)
    return float(found[token]), list(zip(top.indices.tolist(), top.values.tolist(), strict=True))


def _probabilities(scores: "torch.Tensor", sampling: Sampling) -> "torch.Tensor":
    """Of each token (1, V); those beyond the likeliest that make up `top_p` are impossible."""
    import torch

    found = (scores.float() / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, tokens = found.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        found = torch.zeros_like(found).scatter_(1, tokens, ordered.masked_fill(beyond, 0.0))
    return found
