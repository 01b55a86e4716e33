"""Validate replies against CoinGecko's own OpenAPI descriptions, where the shared folder has them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

OPENAPI = Path(__file__).resolve().parents[3] / "shared" / "data" / "coingecko" / "openapi"
needs_openapi = pytest.mark.skipif(
    not (OPENAPI / "demo-api.json").exists(),
    reason=f"CoinGecko's OpenAPI descriptions (demo-api.json, pro-api.json) are not in {OPENAPI}",
)
# Where real replies differ from the description, by schema path; the recordings show each.
NOT_REALLY_REQUIRED = {"market_data", "localization", "categories_details"}


@cache
def _description(host: str) -> Any:
    return json.loads((OPENAPI / f"{host}-api.json").read_text())


def operations(host: str) -> list[str]:
    """Return every path template of a host's description."""
    return list(_description(host)["paths"])


def schema_errors(document: Any, template: str, host: str = "demo") -> list[str]:
    """Return where a reply of 200 does not satisfy the description of its operation.

    Args:
        document: The parsed reply.
        template: Path template of the description, such as `/coins/{id}`.
        host: `demo` or `pro`.
    """
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in _validator(template, host).iter_errors(document)
    ]


@cache
def _validator(template: str, host: str) -> Draft202012Validator:
    reply = _description(host)["paths"][template]["get"]["responses"]["200"]
    return Draft202012Validator(_plain(reply["content"]["application/json"]["schema"], host))


def _plain(schema: Any, host: str) -> Any:
    """Resolve references and turn OpenAPI 3.0's `nullable` into JSON Schema."""
    if isinstance(schema, list):
        return [_plain(part, host) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(_description(host)["components"]["schemas"][schema["$ref"].split("/")[-1]], host)
    found = {key: _plain(part, host) for key, part in schema.items() if key not in ("nullable", "example")}
    if "required" in found and isinstance(found["required"], list):
        found["required"] = [name for name in found["required"] if name not in NOT_REALLY_REQUIRED]
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") else found
