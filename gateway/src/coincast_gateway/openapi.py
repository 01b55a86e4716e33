"""The part of OpenAPI that comes from an endpoint: its parameters, its body, every reply it can give."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson

from coincast_gateway.errors.problems import PROBLEM_JSON
from coincast_gateway.schemas.responses.common import ProblemDocument
from coincast_gateway.serving.endpoint import Endpoint

# Taken from real replies by deploy/openapi_examples.py.
EXAMPLES: dict[str, Any] = orjson.loads(
    files("coincast_gateway.schemas.responses").joinpath("examples.json").read_bytes()
)
_PROBLEM_REF = {"$ref": "#/components/schemas/ProblemDocument"}


def parameters_of(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Path and query parameters, from the very model that validates them."""
    schema = endpoint.query.model_json_schema()
    required = set(schema.get("required", ()))
    found = []
    for name, spec in schema.get("properties", {}).items():
        in_path = f"{{{name}}}" in endpoint.path
        clean = _parameter_schema(spec)
        parameter: dict[str, Any] = {
            "name": name,
            "in": "path" if in_path else "query",
            "required": in_path or name in required,
            "description": clean.pop("description", ""),
            "schema": clean,
        }
        if examples := clean.pop("examples", None):
            parameter["example"] = examples[0]
        found.append(parameter)
    return found


def _parameter_schema(spec: dict[str, Any]) -> dict[str, Any]:
    clean = {key: value for key, value in spec.items() if key not in ("title", "anyOf")}
    for option in spec.get("anyOf", ()):
        if option.get("type") != "null":
            clean.update(option)
    default = clean.get("default")
    if default is None:
        clean.pop("default", None)
    elif isinstance(default, tuple | list):
        clean["default"] = ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in default)
        if not default:
            del clean["default"]
    return clean


def responses_of(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    """The reply, and every problem that the endpoint can answer with."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in endpoint.problems:
        known = found.setdefault(
            kind.status, {"description": "", "content": {PROBLEM_JSON: {"schema": _PROBLEM_REF}}}
        )
        known["description"] = " ".join(filter(None, (known["description"], f"{kind.title}: {kind.meaning}")))
        if kind.status in (429, 503):
            known["headers"] = {
                "Retry-After": {
                    "description": "Seconds, 1 to 60.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": 60},
                }
            }
    success: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.leads_to:
        success["links"] = {
            name: {"operationId": name, "parameters": {parameter: f"$response.body#{pointer}"}}
            for name, parameter, pointer in endpoint.leads_to
        }
    if endpoint.table is not None:
        success["content"] = {"text/csv": {"schema": {"type": "string"}}}
    if endpoint.reply is None:
        success["content"] = {endpoint.media_type: {"schema": {}}}
    else:
        success["model"] = endpoint.reply
    found[endpoint.status] = success
    return found


def extra_of(endpoint: Endpoint) -> dict[str, Any]:
    """What FastAPI cannot see in the handler's signature."""
    extra: dict[str, Any] = {"parameters": parameters_of(endpoint)}
    if endpoint.body is not None:
        schema = {key: value for key, value in endpoint.body.model_json_schema().items() if key != "title"}
        extra["requestBody"] = {
            "required": "required" in schema,
            "content": {"application/json": {"schema": schema}},
        }
    return extra


def with_components(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the shape of a problem among its components, and with examples."""
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components["ProblemDocument"] = {
        key: value for key, value in ProblemDocument.model_json_schema().items() if key != "title"
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            # Only now: FastAPI leaves out whatever is null in what it is given.
            if operation["operationId"] in EXAMPLES:
                content = operation["responses"]["200"]["content"]["application/json"]
                content["example"] = EXAMPLES[operation["operationId"]]
    return document
