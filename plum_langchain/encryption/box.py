"""Sealing with one key: AES-256-GCM of the `cryptography` package.

A sealed value is a random nonce of 96 bits, the ciphertext, and a tag of 128 bits. The tag covers
the name of the key and the place the value is for as well, so that it opens nowhere else: not in
another row, column or generation.
"""

import base64
import binascii
import json
import os
from collections.abc import Callable
from typing import Any

from plum_langchain.errors import EncryptionError, MissingKeyError

ALGORITHM = "AES-256-GCM"
KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2.2: random ones, for at most 2^32 values of a key


class Box:
    """One key: what it seals only it opens, and only in the place that it was sealed for.

    Args:
        name: Of the key; no other key has it.
        key: 32 bytes.

    Raises:
        EncryptionError: the `cryptography` package isn't installed.
    """

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name
        self._cipher = _aesgcm(key)

    def seal(self, content: bytes, *place: str | int) -> bytes:
        """Bytes that tell nothing of the content but its length."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = self._cipher.encrypt(nonce, content, self._bound_to(place))
        return nonce + sealed

    def open(self, sealed: bytes, *place: str | int) -> bytes:
        """The content.

        Raises:
            EncryptionError: it was sealed with another key or for another place, or was changed.
        """
        from cryptography.exceptions import InvalidTag

        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            content: bytes = self._cipher.decrypt(nonce, rest, self._bound_to(place))
        except (InvalidTag, ValueError) as error:  # ValueError: too short to be sealed at all
            raise self._refusal(place) from error
        return content

    def seal_text(self, text: str, *place: str | int) -> str:
        """The same of text, as text; what is empty stays so, and can be told."""
        if not text:
            return ""
        return base64.b64encode(self.seal(text.encode("utf-8"), *place)).decode("ascii")

    def open_text(self, sealed: str, *place: str | int) -> str:
        """The text.

        Raises:
            EncryptionError: as `open`.
        """
        if not sealed:
            return ""
        try:
            raw = base64.b64decode(sealed, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._refusal(place) from error
        return self.open(raw, *place).decode("utf-8")

    def _bound_to(self, place: tuple[str | int, ...]) -> bytes:
        return json.dumps([self.name, *place]).encode("utf-8")

    def _refusal(self, place: tuple[str | int, ...]) -> EncryptionError:
        return EncryptionError(
            f"{' '.join(map(str, place))} can't be opened with the key {self.name!r}: it was "
            "changed, moved from another place, or sealed with another key; it is not used. "
            "Restore the home from a backup"
        )


class Seal:
    """A key with one place: what seals and opens one file.

    Args:
        box: Called when it is needed, since unwrapping a key takes the user's.
        place: The file's.
    """

    def __init__(self, box: Callable[[], Box], *place: str | int) -> None:
        self._box = box
        self._place = place

    def seal(self, content: bytes) -> bytes:
        """As `Box.seal`."""
        return self._box().seal(content, *self._place)

    def open(self, sealed: bytes) -> bytes:
        """As `Box.open`."""
        return self._box().open(sealed, *self._place)

    def or_else(self, now: "Callable[[], Seal | None]") -> "Seal":
        """This one, for as long as its key is there; then what seals and opens the file now.

        Args:
            now: Called when the key is gone; returns None if nothing opens the file any more.
        """

        def box() -> Box:
            try:
                return self._box()
            except MissingKeyError:
                seal = now()
                if seal is None:
                    raise
                return seal._box()

        return Seal(box, *self._place)


def _aesgcm(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise EncryptionError(
            "encryption needs the package cryptography, which isn't installed; "
            "pip install 'plum-langchain[encryption]'"
        ) from error
    return AESGCM(key)
