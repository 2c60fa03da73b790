"""A reply's tokens as they come: emits text, ends at stop strings or when cancelled."""

import threading
from collections.abc import Callable, Sequence
from typing import Any


class Collector:
    """A stopping criterion of transformers, called with all ids after every token.

    Text that might be the beginning of a stop string, or half a character, is held back until it
    is clear.

    Args:
        tokenizer: Decodes the reply.
        prompt_length: How many of the ids are the prompt's.
        stop: Strings that end the reply; none of them is part of it. Empty ones are ignored.
        emit: Told each new piece of text; None if nobody listens.
        cancelled: Set by whoever no longer wants the reply.
        hold: From where this stands nothing is sent: what it is can only be told at the end.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt_length: int,
        stop: Sequence[str],
        emit: Callable[[str], None] | None,
        cancelled: threading.Event | None,
        *,
        hold: str | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.prompt_length = prompt_length
        self._stop = [s for s in stop if s]
        self._emit = emit
        self._cancelled = cancelled
        self._hold = hold
        self._given_up = False
        self.sent = 0
        """Characters that were sent."""
        self.stopped = False
        """Whether a stop string ended the reply."""

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row of `ids` (1, T) is finished: a (1,) bool tensor."""
        import torch

        if self._stop or self._emit is not None:
            text, self.stopped = self._cut(self._decode(ids[0, self.prompt_length :].tolist()))
            if not self.stopped:
                self._send(text)
        done = self.stopped or self.is_cancelled
        return torch.full((ids.shape[0],), done, device=ids.device, dtype=torch.bool)

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants the reply any longer."""
        return self._given_up or (self._cancelled is not None and self._cancelled.is_set())

    def give_up(self) -> None:
        """Nobody wants the reply any longer."""
        self._given_up = True

    def text(self, ids: list[int]) -> str:
        """The whole text, up to a stop string."""
        text, stopped = self._cut(self._decode(ids))
        self.stopped = self.stopped or stopped
        return text

    def send_rest(self, text: str) -> None:
        """Send what was held back of the reply, whose text is this."""
        if self._emit is not None and len(text) > self.sent:
            self._emit(text[self.sent :])
            self.sent = len(text)

    def _decode(self, ids: list[int]) -> str:
        # Cleaning up would change text that has been sent already (" ." into "."), and text that
        # was meant so.
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _cut(self, text: str) -> tuple[str, bool]:
        found = [position for s in self._stop if (position := text.find(s)) >= 0]
        return (text[: min(found)], True) if found else (text, False)

    def _send(self, text: str) -> None:
        if self._emit is None:
            return
        # A byte-level token may end inside a character, shown as U+FFFD until the next one.
        clear = text.rstrip("\ufffd")
        if self._hold:
            found = clear.find(self._hold)
            # A single character is a sign only where the reply begins with it.
            if found >= 0 and (len(self._hold) > 1 or not clear[:found].strip()):
                clear = clear[:found]
        end = len(clear) - self._beginning_of_mark(clear)
        if self._hold:
            end = len(clear[:end].rstrip())  # what stands before a call is no part of the text
        if end > self.sent:
            self._emit(text[self.sent : end])
            self.sent = end

    def _beginning_of_mark(self, text: str) -> int:
        """How many characters at the end of `text` may begin a stop string, or what is held."""
        marks = [*self._stop, *([self._hold] if self._hold else [])]
        return max(
            (size for s in marks for size in range(1, len(s)) if text.endswith(s[:size])),
            default=0,
        )
