"""The client's schemas are those of the gateway's OpenAPI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy import client_schemas

POINT: dict[str, Any] = {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}


def test_the_schemas_are_current():
    assert client_schemas.main(["--check"]) == 0, "run: python deploy/client_schemas.py"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (POINT, {**POINT, "properties": {**POINT["properties"], "hours": {"type": "integer"}}}),
        (POINT, {**POINT, "properties": {"price": {"type": "string"}}}),
        (POINT, {**POINT, "required": []}),
    ],
    ids=["a new field", "another type", "no longer required"],
)
def test_check_reports_schemas_that_are_out_of_date(
    before: dict[str, Any],
    after: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    document: dict[str, Any] = {"components": {"schemas": {"Point": before}}}

    async def fetch_openapi() -> dict[str, Any]:
        return document

    monkeypatch.setattr(client_schemas, "TARGET", tmp_path / "schemas.py")
    monkeypatch.setattr(client_schemas, "fetch_openapi", fetch_openapi)
    assert client_schemas.main([]) == 0
    document["components"]["schemas"]["Point"] = after
    assert client_schemas.main(["--check"]) == 1
    assert "run: python deploy/client_schemas.py" in capsys.readouterr().err
