"""Every error a user can meet.

Each message says what was found, what was expected and what to do about it. All of them derive
from `PlumError`, so `except PlumError` catches whatever this package raises on purpose; anything
else that escapes is a bug. `exit_code` is what the `plum` command returns for it (the numbers
follow BSD's sysexits.h, so that scripts can tell bad input from a busy home).
"""


class PlumError(Exception):
    """Base of all errors raised on purpose by plum-langchain."""

    exit_code = 1


class InvalidInputError(PlumError, ValueError):
    """A value given by the caller can't be used: an empty user id, a negative k."""

    exit_code = 2


class PromptTooLongError(InvalidInputError):
    """A prompt has more tokens than the model reads."""


class BrokenRecordError(PlumError, ValueError):
    """A record in a file can't be read; the message names the file and the line."""

    exit_code = 65  # EX_DATAERR


class MissingFileError(PlumError, FileNotFoundError):
    """A file the caller named is not there or can't be read."""

    exit_code = 66  # EX_NOINPUT

    def __str__(self) -> str:
        """The message as given (OSError would format its arguments as errno pairs)."""
        return str(self.args[0]) if self.args else ""


class UnknownUserError(PlumError, LookupError):
    """No chat of this user is in the home."""

    exit_code = 67  # EX_NOUSER


class UnknownSessionError(PlumError, LookupError):
    """The user has no session of this id."""

    exit_code = 67


class UnknownGenerationError(PlumError, LookupError):
    """The user has no generation of this number, or it has been pruned."""

    exit_code = 67


class MissingUserError(PlumError, ValueError):
    """A request reached a per-user face without naming its user."""

    exit_code = 2


class ModelNotFoundError(PlumError, LookupError):
    """No weights could be found for the model asked for."""

    exit_code = 69  # EX_UNAVAILABLE


class WrongBaseModelError(PlumError):
    """An adapter was trained on another base model than the one that is open."""

    exit_code = 65


class DamagedAdapterError(PlumError):
    """A generation on disk is incomplete or its bytes don't match its manifest."""

    exit_code = 65


class EncryptionError(PlumError):
    """An encrypted home, or something in it, can't be read with the keys at hand."""

    exit_code = 77  # EX_NOPERM


class MissingKeyError(EncryptionError):
    """A key is not where the keys are: it was destroyed, or these are another home's."""


class CacheError(PlumError):
    """What was worked out once for a base model can't be read from the cache, or kept in it."""

    exit_code = 74  # EX_IOERR


class SessionStateError(PlumError):
    """The session's state doesn't allow what was asked (adding a turn to a learned one)."""

    exit_code = 65


class BusyError(PlumError):
    """Another process or thread holds what this call needs; nothing was changed."""

    exit_code = 75  # EX_TEMPFAIL


class LeaseLostError(PlumError):
    """A worker's lease expired and another worker took over; its result was thrown away."""

    exit_code = 75


class StoppedError(PlumError):
    """The work was asked to stop and did; it will be done again from the start."""

    exit_code = 75


class QuestionError(PlumError):
    """No usable balanced questions could be made from a session."""

    exit_code = 65


class QuestionTooLongError(QuestionError):
    """A question with its answer takes more tokens than a training sample may."""


class DivergedError(PlumError):
    """Training on a session's questions ended in numbers that aren't any; nothing was saved."""

    exit_code = 65


class GateError(PlumError):
    """What was made of a session fell short of what a generation must be; nothing was saved."""

    exit_code = 65


class ChatTemplateError(PlumError):
    """A tokenizer's chat template can't be used to mark question and answer exactly."""

    exit_code = 65


class MigrationError(PlumError):
    """The journal's schema is newer than this version of the package, or could not be migrated."""

    exit_code = 65


def loggable(error: BaseException) -> str:
    """What of an error may be logged: its text, or only its kind where that may quote a chat.

    A log can't be made to forget.
    """
    name = type(error).__name__
    quotes_nothing = (
        BusyError,
        CacheError,
        DamagedAdapterError,
        EncryptionError,
        InvalidInputError,
        ModelNotFoundError,
        WrongBaseModelError,
    )
    return f"{name}: {error}" if isinstance(error, quotes_nothing) else name
