"""JSON of the gateway: rounded numbers, null for what is not a number."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from coincast_gateway.rendering import encode_json, render


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
