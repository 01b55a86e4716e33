"""JSON with rounded numbers and null for what is not a number; ages as of the moment of sending."""

from __future__ import annotations

import orjson
import pytest
from pydantic import BaseModel

from coincast_gateway.asgi_types import OWN_HEADERS, READY, Message, Scope
from coincast_gateway.rendering import (
    CSV,
    JSON,
    LARGE_BYTES,
    BodyAges,
    CachedResponse,
    RenderedResponse,
    encode_json,
    render,
)


class Shape(BaseModel):
    skill_percent: float


@pytest.mark.parametrize(
    ("document", "body"),
    [
        ({"price": 87290.1865158081}, b'{"price":87290.18652}'),
        ({"skill_percent": 1.1102230246251565e-14}, b'{"skill_percent":0.0}'),
        ({"age_seconds": 87290.1865158081}, b'{"age_seconds":87290.2}'),
        ({"quantiles": {"0.1": float("nan")}}, b'{"quantiles":{"0.1":null}}'),
    ],
)
def test_documents_are_encoded_with_rounded_numbers(document: dict[str, object], body: bytes) -> None:
    assert encode_json(document) == body


def test_models_are_rounded_like_dictionaries() -> None:
    assert render(Shape(skill_percent=1 / 3), fresh_seconds=1.0).body == b'{"skill_percent":0.3333}'


ROWS = b'id,age_seconds,note\r\nbitcoin,1.5,"a, b"\r\nethereum,,"say ""hi"""\r\ntether,20.0,\r\n'


def test_each_age_of_a_json_body_grows() -> None:
    prices = [{"id": "a", "age_seconds": 1.5}, {"id": "b", "age_seconds": 0}]
    document = {"prices": prices, "age_seconds": 61.25}
    ages = BodyAges.find(orjson.dumps(document), JSON)
    assert ages is not None
    found = orjson.loads(ages.at(20.04))
    assert [each["age_seconds"] for each in found["prices"]] == [21.5, 20.0]
    assert found["age_seconds"] == 81.3
    assert [each["id"] for each in found["prices"]] == ["a", "b"]


@pytest.mark.parametrize("comment", [b"", b'# version=1 | note="quoted"\n'])
def test_only_the_column_of_a_csv_body_grows(comment: bytes) -> None:
    ages = BodyAges.find(comment + ROWS, "text/csv; charset=utf-8")
    assert ages is not None
    assert ages.at(2.0) == comment + ROWS.replace(b"1.5", b"3.5").replace(b"20.0", b"22.0")


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"status":"alive"}', JSON),
        (b'{"age_seconds":null}', JSON),
        (orjson.dumps({"note": '"age_seconds":5'}), JSON),
        (b"age_seconds: 5", "text/html"),
        (b"id,note\r\na,age_seconds\r\n", CSV),
    ],
)
def test_bodies_without_ages_are_left_alone(body: bytes, media_type: str) -> None:
    assert BodyAges.find(body, media_type) is None


def variant_after(seconds: float, *, encoding: str = "identity", has_ages: bool = True) -> bytes:
    body = b'{"age_seconds":1.5,"price":2.0}'
    rendered = RenderedResponse(body, fresh_seconds=60.0, has_ages=has_ages)
    return CachedResponse(rendered, now=0.0, now_unix=0.0).variant(encoding, seconds).body


def test_a_cached_response_tells_its_age_at_each_moment() -> None:
    assert [orjson.loads(variant_after(each))["age_seconds"] for each in (0.0, 0.09, 0.1, 30.0)] == [
        1.5,
        1.5,
        1.6,
        31.5,
    ]


def test_an_example_keeps_its_age() -> None:
    assert orjson.loads(variant_after(30.0, has_ages=False))["age_seconds"] == 1.5


def test_headers_belong_to_the_body_that_is_sent() -> None:
    rendered = RenderedResponse(b'{"age_seconds":9.9}', fresh_seconds=60.0)
    response = CachedResponse(rendered, now=0.0, now_unix=0.0)
    first, later = response.variant("identity"), response.variant("identity", 0.1)
    assert len(later.body) == len(first.body) + 1
    assert dict(later.whole)[b"content-length"] == b"%d" % len(later.body)
    # The same rendering has one tag; bytes differ, so it is a weak one.
    assert dict(first.whole)[b"etag"] == dict(later.whole)[b"etag"]
    assert dict(first.whole)[b"etag"].startswith(b'W/"')


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES, LARGE_BYTES + 1, 2 * LARGE_BYTES, 5 * LARGE_BYTES - 1])
async def test_a_large_body_is_sent_in_pieces(size: int) -> None:
    """The server can wait for a slow reader only between two pieces, so a direct write is refused as well."""
    body = bytes(index % 251 for index in range(size))
    written: list[bytes] = []
    sent: list[Message] = []

    def write(_status: int, _head: bytes, body: bytes) -> bool:
        written.append(body)
        return True

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "headers": [],
        "extensions": {READY: write},
        OWN_HEADERS: [],
    }
    rendered = RenderedResponse(body, "text/plain", fresh_seconds=60.0)
    assert await CachedResponse(rendered, now=0.0, now_unix=0.0).send(scope, send) == 200
    pieces = [message["body"] for message in sent[1:]] or written
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= LARGE_BYTES
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False] * (
        len(sent) > 1
    )
