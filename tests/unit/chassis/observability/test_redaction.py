"""Secrets do not leave the process in what is written about it."""

import pytest

from coincast_chassis.observability.redaction import HIDDEN, scrub, scrub_text


@pytest.mark.parametrize(
    "text",
    [
        "GET https://x/simple/price?ids=bitcoin&x_cg_demo_api_key=SESAME&vs=usd",
        "x-cg-pro-api-key: SESAME",
        "Authorization: Bearer SESAME",
        "redis://:SESAME@redis:6379/0",
        "redis://user:SESAME@redis:6379/0",
        "redis://user:SE/SAME@x:SESAME@redis:6379/0",
    ],
)
def test_a_secret_in_a_text_is_hidden(text):
    assert "SESAME" not in scrub_text(text)
    assert HIDDEN in scrub_text(text)


def test_a_secret_is_known_by_its_name_at_any_depth():
    event = {
        "a": [{"headers": {"X-API-Key": "SESAME", "accept": "json"}}],
        "redis_password": "SESAME",
        "keys": 3,
    }
    scrubbed = scrub(event)
    assert "SESAME" not in str(scrubbed)
    assert scrubbed["a"][0]["headers"]["accept"] == "json"
    assert scrubbed["keys"] == 3


def test_what_is_no_secret_stays_as_it_is():
    event = {"url": "https://x/coins/bitcoin?days=7", "count": 1, "key": "bitcoin:usd", "none": None}
    assert scrub(event) == event


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8100/api/v3 does not answer",
        "http://gateway:8000/prices?ids=bitcoin",
        "listening on http://[::1]:8000",
        "dns:///forecast:50052",
    ],
)
def test_a_port_in_an_address_is_no_secret(text):
    assert scrub_text(text) == text
