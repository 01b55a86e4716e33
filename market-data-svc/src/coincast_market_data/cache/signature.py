"""Sign cached values in Redis, so that only replicas with the same secret can write what is served."""

from __future__ import annotations

import hmac
from typing import Protocol

# HMAC-SHA-256 cut to 128 bits.
SIGNATURE_BYTES = 16


class ValueSigner(Protocol):
    """Signs values for the shared store and checks them when they are read back."""

    def sign(self, key: str, value: bytes) -> bytes:
        """Return the value as it is stored under the key."""
        ...

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value; None where its signature is missing or wrong."""
        ...


class NoSignature:
    """Stores values as they are, where no secret is set."""

    def sign(self, key: str, value: bytes) -> bytes:
        """Return the value."""
        del key
        return value

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value."""
        del key
        return stored


class HmacSigner:
    """Put an HMAC over key and value in front of each value.

    The key is signed as well, so that a value cannot be copied to another key.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, key: str, value: bytes) -> bytes:
        """Return signature and value."""
        return self._signature(key, value) + value

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value; None where its signature is missing or wrong."""
        signature, value = stored[:SIGNATURE_BYTES], stored[SIGNATURE_BYTES:]
        return value if hmac.compare_digest(signature, self._signature(key, value)) else None

    def _signature(self, key: str, value: bytes) -> bytes:
        name = key.encode()
        message = len(name).to_bytes(4, "big") + name + value
        return hmac.digest(self._secret, message, "sha256")[:SIGNATURE_BYTES]
