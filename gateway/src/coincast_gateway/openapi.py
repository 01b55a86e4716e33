"""The OpenAPI document: FastAPI's, completed with scopes, formats, examples and the CoinGecko mirror."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from coincast_gateway.auth.authenticator import required_scope
from coincast_gateway.coingecko_compat.openapi import COMPONENTS, mirror_paths
from coincast_gateway.formats.negotiation import MEDIA_TYPES, Format, declared_rows
from coincast_gateway.schemas.responses.common import ProblemDocument
from coincast_gateway.schemas.responses.glossary import describe_fields

# Real responses by operation id, written by deploy/openapi_examples.py.
EXAMPLES: dict[str, Any] = orjson.loads(
    files("coincast_gateway.schemas.responses").joinpath("examples.json").read_bytes()
)
TAGS = {
    "market": "Prices, markets, the catalogue of coins and candles.",
    "forecasts": "Forecasts with intervals, their attributions, and their accuracy so far.",
    "risk": "Joint scenarios, touch probabilities and portfolio risk.",
    "export": "Tables in bulk, as files.",
    "models": "The registry of model versions.",
    "training": "Training jobs.",
    "usage": "Calls, rows and bytes of each API key.",
    "health": "Liveness, readiness, the state of each part, and metrics.",
    "pages": "Pages for people, and this description.",
    "mirror": "Paths, parameters and responses of CoinGecko's API.",
}
SERVERS = [
    {"url": "/", "description": "The gateway that serves this description."},
    {"url": "http://127.0.0.1:8000", "description": "`make run` on this machine."},
]
# The sentence that ends a description, by the scope that the route needs. Each scope includes those before
# it.
NEEDS: dict[str, str] = {
    "none": "Needs no key.",
    "read": "Needs a key with the scope `read`.",
    "train": "Needs a key with the scope `train`.",
    "admin": "Needs a key with the scope `admin`.",
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the application, built at the first call."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for route in app.state.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    _complete(document["paths"][route.path_format][method.lower()], route)
        document["paths"] |= mirror_paths()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= COMPONENTS
        problem = ProblemDocument.model_json_schema()
        schemas["ProblemDocument"] = {key: value for key, value in problem.items() if key != "title"}
        describe_fields(schemas)
        for operations in document["paths"].values():
            for operation in operations.values():
                _add_example(operation)
        document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
        document["servers"] = SERVERS
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Add the scope, the formats and the example that the declaration of a route implies."""
    description = operation.get("description") or operation["summary"]
    operation["description"] = f"{description.strip().rstrip('.')}. {NEEDS[required_scope(route)]}"
    for parameter in operation.get("parameters", ()):
        _simplify(parameter)
    if "requestBody" in operation:
        # A request without an API key that changes something must be JSON (see require_json): a body without
        # fields is sent as {}.
        operation["requestBody"]["required"] = True
    success = operation["responses"][str(route.status_code or 200)]
    success["description"] = operation["summary"]
    content = success.get("content", {})
    # JSON comes first: generators of clients take the first media type.
    if declared_rows(route.endpoint) is not None:
        content["text/csv"] = {"schema": {"type": "string"}}
        for table in (Format.ARROW, Format.PARQUET):
            content[MEDIA_TYPES[table]] = {"schema": {"type": "string", "format": "binary"}}


def _add_example(operation: dict[str, Any]) -> None:
    """Add the example of a real reply to the first media type of an operation's successful response."""
    example = EXAMPLES.get(operation["operationId"])
    for status, response in operation["responses"].items():
        if example is not None and str(status).startswith("2"):
            for media in list(response.get("content", {}).values())[:1]:
                media["example"] = example


def _simplify(parameter: dict[str, Any]) -> None:
    """Rewrite a parameter's schema for a query string, which has no null and writes lists with commas."""
    schema = parameter["schema"]
    for option in schema.pop("anyOf", ()):
        if option.get("type") != "null":
            schema.update(option)
    schema.pop("title", None)
    description = schema.pop("description", None)
    if not parameter.get("description"):
        parameter["description"] = description or ""
    if examples := schema.pop("examples", None):
        parameter["example"] = examples[0]
    default = schema.get("default")
    if isinstance(default, list | tuple):
        text = ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in default)
        schema["default"] = text
        if not text:
            del schema["default"]
