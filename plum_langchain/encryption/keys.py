"""The users' keys: where they are kept, and how a home opens them.

    <keys>/home-<hash>            proves that these are the home's keys
           <user hash>-<8 hex>    32 random bytes: all text of one user is sealed with it

They are kept apart from the home, so that a copy of the home is not a copy of the keys. To destroy
a key is to erase what was sealed with it, wherever copies of that are.
"""

import os
import secrets
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from plum_langchain.durable import create, make_directory, sync
from plum_langchain.encryption.box import KEY_BYTES, Box
from plum_langchain.errors import (
    EncryptionError,
    InvalidInputError,
    MissingKeyError,
    PlumError,
)

_OPEN_KEYS = 1024
"""Kept in memory, the least recently used goes first: a service that manages keys may be slow."""


@runtime_checkable
class KeyStore(Protocol):
    """Where keys are kept: `KeyDirectory`, or a service that manages keys.

    Names are of lower-case hex digits, "home" and hyphens. A name stands for one key for good: once
    it is destroyed, it is never asked for again but to be told that it is gone.
    """

    def get(self, name: str) -> bytes | None:
        """The 32 bytes of a key; None if there is none of this name."""

    def create(self, name: str) -> bytes:
        """Make a key of 32 random bytes, durably, and return it; of one that is there, that one."""

    def destroy(self, name: str) -> None:
        """Delete a key, and every copy of it, for good; one that is gone stays so."""


class KeyDirectory:
    """Keys in files of mode 0600; the directory is made with the first.

    Args:
        root: The directory.
        apart_from: One that it may not be in.

    Raises:
        InvalidInputError: it is in there, or can't be used; of one that isn't there, when the first
            key is made.
    """

    def __init__(self, root: str | os.PathLike[str], *, apart_from: Path | None = None) -> None:
        try:
            self.root = Path(root).expanduser().absolute()
            if apart_from and self.root.resolve().is_relative_to(apart_from.resolve()):
                raise InvalidInputError(
                    f"the keys {os.fspath(root)!r} lie in the home {apart_from}, so that a copy of "
                    "it would hold them; choose a directory outside"
                )
            if self.root.exists():
                self._make()
        # RuntimeError: no such user in ~user; ValueError: a NUL in the path.
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise _unusable(root, error) from error

    def get(self, name: str) -> bytes | None:
        """The key's bytes; None if it isn't there."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, name: str) -> bytes:
        """Make a key durably, unless it is there; returns it."""
        self._make()
        create(self.root / name, secrets.token_bytes(KEY_BYTES))
        return (self.root / name).read_bytes()

    def _make(self) -> None:
        try:
            make_directory(self.root)
        except OSError as error:
            raise _unusable(self.root, error) from error

    def destroy(self, name: str) -> None:
        """Overwrite and delete a key; one that is gone stays so."""
        path = self.root / name
        try:
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            return
        sync(self.root)


def _unusable(root: str | os.PathLike[str], error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{os.fspath(root)!r} can't be used for keys: "
        f"{getattr(error, 'strerror', None) or error}; choose a directory you may write to"
    )


class Keys:
    """The keys of one home, opened from their store by name.

    Args:
        store: Where they are kept.
        owner: A user's hash (`Home.owner`); names of keys begin with it.
    """

    def __init__(self, store: KeyStore, owner: Callable[[str], str]) -> None:
        self._store = store
        self._owner = owner
        # A name stands for one key for good, so that what was opened once needn't be asked for.
        self._open = lru_cache(maxsize=_OPEN_KEYS)(self._read)
        self.home = f"home-{owner('home')}"
        """The name of the key that proves that these are the home's."""

    def owner(self, user_id: str) -> str:
        """The user's hash."""
        return self._owner(user_id)

    def begin(self, user_id: str) -> Box:
        """A new key of a user, durable when it is returned.

        Of a transaction that fails afterwards a key is left that nothing was sealed with.
        """
        return self.create(f"{self._owner(user_id)}-{secrets.token_hex(4)}")

    def create(self, name: str) -> Box:
        """The key of this name, made if it isn't there.

        Raises:
            EncryptionError: the store can't, now.
        """
        try:
            key = self._store.create(name)
        except PlumError:
            raise
        except Exception as error:  # a disk that is full, or whatever a service may raise
            raise EncryptionError(
                f"the key {name!r} can't be made in {self} ({type(error).__name__}: {error}), and "
                "without it nothing is saved; see to that and try again"
            ) from error
        return _box(name, key)

    def box(self, name: str) -> Box:
        """A key that was made before.

        Raises:
            EncryptionError: the store can't give it, now.
            MissingKeyError: it isn't there.
        """
        return self._open(name)

    def of_user(self, user_id: str, name: str) -> Box:
        """The key that the journal names for a user.

        Raises:
            EncryptionError: it is another user's, or the store can't give it, now.
            MissingKeyError: it isn't there.
        """
        if not name.startswith(f"{self._owner(user_id)}-"):
            raise EncryptionError(
                f"the journal names the key {name!r} for user {user_id!r}, which is another "
                "user's; the journal was changed. Restore the home from a backup"
            )
        return self.box(name)

    def destroy(self, name: str) -> None:
        """Destroy a key for good.

        Raises:
            EncryptionError: the store can't, now.
        """
        self._open.cache_clear()
        try:
            self._store.destroy(name)
        except Exception as error:  # a service may raise whatever it pleases
            raise EncryptionError(
                f"the key {name!r} can't be destroyed ({type(error).__name__}: {error}), and opens "
                "what copies of the home hold; whoever opens the home next tries again"
            ) from error

    def _read(self, name: str) -> Box:
        try:
            key = self._store.get(name)
        except PlumError:
            raise
        except Exception as error:  # a file that may not be read, or whatever a service may raise
            raise EncryptionError(
                f"the key {name!r} can't be read from {self} ({type(error).__name__}: {error}), "
                "and without it nothing that was sealed with it is; see to that and try again"
            ) from error
        if key is None:
            raise MissingKeyError(
                f"the key {name!r} is not in {self}; if it was destroyed by forgetting, this is a "
                "copy of the home from before that, and what it holds of this user can't be read "
                "any more. Else restore the key from where you keep copies of keys"
            )
        return _box(name, key)

    def __str__(self) -> str:
        """For messages."""
        return str(getattr(self._store, "root", None) or f"the {type(self._store).__name__}")


def open_keys(
    given: "str | os.PathLike[str] | KeyStore | Literal[False] | None",
    home: Path,
    owner: Callable[[str], str],
) -> Keys | None:
    """The keys of a home, in the directory or store that the caller names; None without one.

    Raises:
        InvalidInputError: the directory is in the home or can't be used, or it is no store.
    """
    if given is None or given is False:
        return None
    if not isinstance(given, str | os.PathLike):
        if not isinstance(given, KeyStore):
            raise InvalidInputError(
                "keys is a directory, an object with get, create and destroy (KeyStore), or False "
                f"for none, not {type(given).__name__}"
            )
        return Keys(given, owner)
    if not os.fspath(given).strip():
        raise InvalidInputError("keys is empty; name a directory, or leave it out")
    return Keys(KeyDirectory(given, apart_from=home), owner)


def _box(name: str, key: bytes) -> Box:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise EncryptionError(
            f"the key {name!r} is {len(key)} bytes instead of {KEY_BYTES}; restore it from where "
            "you keep copies of keys"
        )
    return Box(name, key)
