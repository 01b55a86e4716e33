"""Clients that generators make from the OpenAPI document compile and read typed replies of a gateway."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.contract.gateway.fakes import world

HERE = Path(__file__).with_name("generators")
# `make setup-generators` installs both beside the environment that runs the tests.
PYTHON = Path(f"{sys.prefix}-generators") / "bin" / "python"
NODE_MODULES = Path(f"{sys.prefix}-generators") / "node_modules"
REMEDY = "run: make setup-generators"
# Fields of a request that have a default may be left out.
OPTIONAL = ("--default-non-nullable=false",)


async def run(*command: str | Path, folder: Path) -> str:
    """Run a command and return its output; if it fails, fail with its output."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode()[-4000:]
    return output.decode()


async def save_openapi(url: str, folder: Path) -> None:
    """Write the document to openapi.json."""
    async with httpx2.AsyncClient(timeout=60) as http:
        (folder / "openapi.json").write_bytes((await http.get(f"{url}/openapi.json")).content)


def check(said: dict[str, Any]) -> None:
    """Compare the values that a client read with those of the fakes."""
    assert said["price"] > 0
    assert said["unknown"] == ["nothing"]
    assert said["horizons"] == list(range(1, 8))
    assert said["field"] == "days"
    assert said["value"] > 0


@pytest.mark.skipif(
    not PYTHON.with_name("openapi-python-client").exists(),
    reason=f"openapi-python-client is not installed: {REMEDY}",
)
async def test_a_generated_python_client_reads_typed_replies(tmp_path: Path) -> None:
    async with world() as there:
        await save_openapi(there.url, tmp_path)
        generator = PYTHON.with_name("openapi-python-client")
        arguments = ("--path", "openapi.json", "--output-path", "generated", "--meta", "none")
        await run(generator, "generate", *arguments, folder=tmp_path)
        shutil.copy(HERE / "consumer.py", tmp_path)
        check(json.loads(await run(PYTHON, "consumer.py", there.url, folder=tmp_path)))


@pytest.mark.skipif(
    not (NODE_MODULES / ".bin" / "tsc").exists(),
    reason=f"openapi-typescript is not there: {REMEDY}, with Node",
)
async def test_generated_typescript_compiles_and_reads_typed_replies(tmp_path: Path) -> None:
    async with world() as there:
        await save_openapi(there.url, tmp_path)
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
        for name in ("consumer.ts", "package.json"):
            shutil.copy(HERE / name, tmp_path)
        tools = NODE_MODULES / ".bin"
        await run(tools / "openapi-typescript", *OPTIONAL, "openapi.json", "-o", "api.d.ts", folder=tmp_path)
        options = ("--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck")
        await run(tools / "tsc", *options, "--lib", "es2022,dom", "consumer.ts", folder=tmp_path)
        check(json.loads(await run("node", "consumer.js", there.url, folder=tmp_path)))
