"""Signed values: a value of another key, secret or writer reads as missing."""

from __future__ import annotations

import pytest

from coincast_market_data.cache.two_level import HmacSigner, NoSignature

KEY, VALUE = "quote:usd:bitcoin", b"100000.0"
SIGNER = HmacSigner(b"a secret of sixteen characters")
STORED = SIGNER.sign(KEY, VALUE)


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        (KEY, VALUE),
        (KEY, b""),
        (KEY, STORED[:-1]),
        (KEY, STORED[:-1] + b"1"),
        (KEY, b"\0" + STORED[1:]),
        (KEY, STORED[:10]),
        ("quote:usd:ethereum", STORED),
        ("quote:usd:bitcoi", STORED[:16] + b"n" + VALUE),
        (KEY, HmacSigner(b"another secret, as long").sign(KEY, VALUE)),
    ],
    ids=["unsigned", "empty", "cut", "changed", "signature", "short", "other key", "moved", "other secret"],
)
def test_a_value_without_the_right_signature_is_missing(key: str, stored: bytes) -> None:
    assert SIGNER.verify(key, stored) is None


@pytest.mark.parametrize("value", [b"", VALUE, bytes(100_000)])
def test_a_signed_value_comes_back(value: bytes) -> None:
    assert SIGNER.verify(KEY, SIGNER.sign(KEY, value)) == value
    assert NoSignature().verify(KEY, NoSignature().sign(KEY, value)) == value
