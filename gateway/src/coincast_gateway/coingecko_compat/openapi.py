"""The mirror's paths in OpenAPI, derived from its route table."""

from __future__ import annotations

import re
from typing import Any

from coincast_gateway.coingecko_compat.routes import COMPAT_ROUTES, PREFIX, SEGMENT, CompatRoute

# The forms of CoinGecko's errors: a text, or a code with a text, which is directly in the object or below
# `error`.
ERROR_SCHEMA: dict[str, Any] = {
    "description": "An error as CoinGecko writes it.",
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {
        "error": {
            "description": "A text, or an object with the status.",
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "required": ["status"],
                    "properties": {"status": {"$ref": "#/components/schemas/MirrorStatus"}},
                },
            ],
        },
        "status": {"$ref": "#/components/schemas/MirrorStatus", "description": "What went wrong."},
    },
}
STATUS_SCHEMA: dict[str, Any] = {
    "description": "The code and the text of an error.",
    "type": "object",
    "required": ["error_code", "error_message"],
    "properties": {
        "timestamp": {"type": "string", "description": "When it happened, RFC 3339, UTC."},
        "error_code": {"type": "integer", "description": "CoinGecko's code, or the HTTP status."},
        "error_message": {"type": "string", "description": "What went wrong."},
    },
}
COMPONENTS = {"MirrorError": ERROR_SCHEMA, "MirrorStatus": STATUS_SCHEMA}
ERRORS = {
    "400": "CoinGecko rejects a value, or the CoinGecko key that the service uses.",
    "401": "A key is needed, or CoinGecko's plan does not include this.",
    "403": "CoinGecko denies access.",
    "404": "No such coin, or a path that is not mirrored.",
    "422": "A parameter is missing or wrong.",
    "429": "A limit is used up.",
    "500": "The gateway failed.",
    "503": "Neither the cache nor CoinGecko can answer now.",
    "504": "CoinGecko did not answer in time.",
}
RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds, 1 to 60.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 60},
    }
}
# Examples of path and required parameters; USDT is the contract address of a well-known token.
USDT = "0xdac17f958d2ee523a2206206994597c13d831ec7"
EXAMPLES = {"ids": "bitcoin", "vs_currencies": "usd", "vs_currency": "usd", "days": "7", "date": "30-12-2025"}
EXAMPLES |= {"id": "bitcoin", "platform": "ethereum", "contract_addresses": USDT, "address": USDT}
EXAMPLES |= {"from": "1767225600", "to": "1767312000", "query": "bit"}


def mirror_paths() -> dict[str, Any]:
    """Return the OpenAPI path items of the mirrored paths, and one for CoinGecko's other paths."""
    known = {f"{PREFIX}/{mirrored.template}": {"get": _operation(mirrored)} for mirrored in COMPAT_ROUTES}
    return {**known, f"{PREFIX}/{{path}}": {"get": _others()}}


def _others() -> dict[str, Any]:
    families = "companies|derivatives|entities|nfts|onchain|token_lists"
    schema = {"type": "string", "pattern": f"^({families})(/[a-z_]{{1,20}}){{0,2}}$"}
    parameter = {"name": "path", "in": "path", "required": True, "description": "The rest of the path."}
    names = ", ".join(mirrored.template for mirrored in COMPAT_ROUTES)
    return {
        "tags": ["mirror"],
        "summary": "Any other path of CoinGecko, which is not mirrored",
        "description": f"404 in CoinGecko's form of an error. Mirrored are {names}. Needs no key.",
        "operationId": "mirror_others",
        "parameters": [{**parameter, "schema": schema, "example": "nfts/list"}],
        "responses": {status: _error(status) for status in ERRORS},
    }


def _operation(mirrored: CompatRoute) -> dict[str, Any]:
    name = re.sub(r"[{}]", "", mirrored.template).replace("/", "_")
    return {
        "tags": ["mirror"],
        "summary": f"As CoinGecko's /{mirrored.template}",
        "description": (
            "Parameters, response and errors are CoinGecko's own; see its reference. Parameters that are not "
            "listed are ignored. A Coincast key may be sent as x_cg_demo_api_key or x_cg_pro_api_key; it is "
            "not forwarded to CoinGecko. The headers X-Coincast-Source and X-Coincast-As-Of state the source "
            "and the time of the figures. Needs a key with the scope `read`."
        ),
        "operationId": f"mirror_{name}",
        "parameters": _parameters(mirrored),
        "responses": {
            "200": {"description": "As CoinGecko gives it.", "content": {"application/json": {"schema": {}}}},
            **{status: _error(status) for status in ERRORS},
        },
    }


def _parameters(mirrored: CompatRoute) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in re.findall(r"\{([a-z]+)\}", mirrored.template):
        schema = {"type": "string", "pattern": f"^{SEGMENT}$"}
        parameter = {"name": name, "in": "path", "required": True, "description": f"CoinGecko's {name}."}
        found.append({**parameter, "schema": schema, "example": EXAMPLES[name]})
    needed = {group[0] for group in mirrored.needs}
    for name in [*sorted(needed), *sorted(mirrored.known - needed)]:
        parameter = {"name": name, "in": "query", "required": name in needed}
        # OpenAPI cannot express that one of several parameters is required, so the first one is marked.
        schema = {"type": "string", **({"pattern": r"\S"} if name in needed else {})}
        parameter |= {"description": f"CoinGecko's `{name}`.", "schema": schema}
        found.append(parameter | ({"example": EXAMPLES[name]} if name in needed else {}))
    return found


def _error(status: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/MirrorError"}}}
    found = {"description": ERRORS[status], "content": content}
    return found | {"headers": RETRY_AFTER} if status in ("429", "503") else found
