"""The secret from which pseudonyms, UIDs and shifts of dates follow: the same key gives the same ones, and without it none can be undone or linked.

All are HMAC-SHA256 (RFC 2104) of the original, each under its own label, so that one tells nothing of another.
"""

import hmac
import os
from pathlib import Path
from typing import final

from metamedica.errors import InputError

VARIABLE = "METAMEDICA_DEIDENTIFICATION_KEY"
LEAST_BYTES = 16
MOST_DAYS = 3650


@final
class Key:
    """A secret of at least 16 bytes. It is never shown: neither in `repr`, nor in errors, reports or logs.

    Args:
        secret: the bytes.

    Raises:
        InputError: fewer than 16 bytes, or bytes that are all the same.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_BYTES or len(set(secret)) < 2:
            raise InputError(
                f"the key has {len(secret)} bytes of {len(set(secret))} kinds; {LEAST_BYTES} random ones or more are wanted: make one with "
                "'openssl rand -hex 32' and keep it secret"
            )
        self._secret = secret

    def __repr__(self) -> str:
        return "Key(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not copied into other files; read it from its own")

    @classmethod
    def from_file(cls, path: Path) -> "Key":
        """Return the key that a file holds; line ends at its end do not count.

        Raises:
            InputError: no such file, or too short a key.
        """
        if not path.is_file():
            raise InputError(
                "there is no such key file; make one with 'openssl rand -hex 32 > key.txt' and keep it secret"
            )
        return cls(path.read_bytes().rstrip(b"\r\n"))

    @classmethod
    def from_environment(cls, variable: str = VARIABLE) -> "Key":
        """Return the key that an environment variable holds.

        Raises:
            InputError: it is not set, or too short.
        """
        value = os.environ.get(variable)
        if not value:
            raise InputError(f"no key: give a key file, or set {variable} to a secret of {LEAST_BYTES} bytes or more")
        return cls(value.encode())

    def digest(self, label: str, original: bytes) -> bytes:
        """Return the 32 bytes that stand for an original under a label."""
        return hmac.digest(self._secret, label.encode() + b"\0" + original, "sha256")

    def uid(self, original: str) -> str:
        """Return the UID that stands for another: 2.25. and 128 bits in decimal (PS3.5 B.2), at most 44 characters."""
        return f"2.25.{int.from_bytes(self.digest('uid', original.encode())[:16], 'big')}"

    def pseudonym(self, patient: str) -> str:
        """Return what stands for a patient's ID: P and 64 bits in hexadecimal."""
        return f"P{self.digest('patient', patient.encode())[:8].hex()}"

    def days(self, patient: str) -> int:
        """Return by how many days a patient's dates are put back: 1 to 3650."""
        return 1 + int.from_bytes(self.digest("days", patient.encode())[:8], "big") % MOST_DAYS
