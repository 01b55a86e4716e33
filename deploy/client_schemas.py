"""Generate the client's reply schemas from the gateway's OpenAPI.

Usage: `python deploy/client_schemas.py [--check]`.

The gateway's response models are the only source of the schemas; those of the client are generated from the
OpenAPI document of the gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
from datamodel_code_generator.__main__ import Exit
from datamodel_code_generator.__main__ import main as generate_models

import coincast_chassis  # noqa: F401 - sets gRPC's environment before it is imported
from coincast_gateway.server import serve
from coincast_gateway.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "libs/client/src/coincast_client/schemas.py"
DOCSTRING = '"""The gateway\'s replies, generated from its OpenAPI by `python deploy/client_schemas.py`."""\n'
# Closed ports: the OpenAPI document needs no service behind the gateway.
NOWHERE = "127.0.0.1:1"
# The first document takes seconds to compute, on a busy machine many.
OPENAPI_SECONDS = 120.0
# Schemas of CoinGecko's replies are left out: CoinGecko has clients of its own.
MIRROR_PREFIXES = ("Mirror", "CoinGecko")

MAYBE_DAY = re.compile(r"^(    \w+_date: )str(?: \| None)?\n", re.MULTILINE)


async def fetch_openapi() -> dict[str, Any]:
    """Start a gateway in this process and return its OpenAPI document."""
    settings = Settings(
        redis_url="", port=0, metrics_port=0, not_serving_seconds=0,
        market_target=NOWHERE, forecast_target=NOWHERE, training_target=NOWHERE,
    )  # fmt: skip
    async with (
        serve(settings) as url,
        httpx2.AsyncClient(trust_env=False, timeout=OPENAPI_SECONDS) as client,
    ):
        document: dict[str, Any] = (await client.get(f"{url}/openapi.json")).json()
    return document


def prune(node: Any) -> Any:
    """Return a schema without its titles, which only repeat the names."""
    if isinstance(node, list):
        return [prune(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: prune(each) for name, each in value.items()} if key == "properties" else prune(value)
        for key, value in node.items()
        if key != "title" or not isinstance(value, str)
    }


def generate(document: dict[str, Any]) -> str:
    """Return the module's source for an OpenAPI document."""
    schemas = {
        name: prune(schema)
        for name, schema in document["components"]["schemas"].items()
        if not name.startswith(MIRROR_PREFIXES) and not name.endswith("Body")
    }
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "openapi.json", Path(folder) / "schemas.py"
        source.write_text(
            json.dumps(
                {
                    "openapi": "3.1.0",
                    "info": {"title": "", "version": ""},
                    "paths": {},
                    "components": {"schemas": schemas},
                }
            )
        )
        arguments = [
            "--input", str(source), "--output", str(made),
            "--input-file-type", "openapi", "--openapi-scopes", "schemas",
            "--output-model-type", "pydantic_v2.BaseModel", "--base-class", "coincast_client.base.Reply",
            "--target-python-version", "3.11", "--use-standard-collections", "--use-union-operator",
            "--disable-timestamp", "--use-schema-description", "--use-field-description",
            "--enum-field-as-literal", "all", "--use-double-quotes", "--keep-model-order", "--use-annotated",
            "--formatters", "builtin", "--custom-file-header", " ",
        ]  # fmt: skip
        if generate_models(arguments) is not Exit.OK:
            raise SystemExit("datamodel-codegen failed; see its message above")
        # Fields of days that may be empty have no format in the document, so they are generated as text.
        body = MAYBE_DAY.sub(r"\1Day\n", made.read_text().lstrip()).replace(
            "from coincast_client.base import Reply", "from coincast_client.base import Day, Reply"
        )
        made.write_text(
            DOCSTRING + "\n" + body.replace('model_config = ConfigDict(\n        extra="forbid",\n    )', "")
        )
        # Rules without a safe fix are ignored here: they concern docstrings that the formatter then joins.
        ruff = [sys.executable, "-m", "ruff"]
        config = ["--config", str(ROOT / "pyproject.toml"), str(made)]
        rules = ["--select", "I,F,UP,D2,W", "--ignore", "D203,D213"]
        subprocess.run([*ruff, "check", "--silent", "--fix", "--exit-zero", *rules, *config], check=True)
        subprocess.run([*ruff, "format", "--quiet", *config], check=True)
        return made.read_text()


def main(arguments: list[str]) -> int:
    """Write the module; with --check only compare it, and return 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit code 1 if the module is out of date"
    )
    options = parser.parse_args(arguments)
    source = generate(asyncio.run(fetch_openapi()))
    if options.check:
        if TARGET.read_text() != source:
            sys.stderr.write("The client's schemas are out of date; run: python deploy/client_schemas.py\n")
            return 1
        return 0
    TARGET.write_text(source)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
