"""The whole OpenAPI against the running gateway: no 500 from any input, every reply as described."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx2
import jsonschema
import pytest

from coincast_gateway.serving.openapi import EXAMPLES
from tests.contract.gateway.fakes import world

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    async with world() as there:
        command = [
            str(Path(sys.executable).with_name("st")), "--config-file", str(CONFIG),
            "run", f"{there.url}/openapi.json", "--checks", "all",
            # A cancelled job is still shown: that is what its record is for.
            "--exclude-checks", "use_after_free",
            "--phases", "examples,coverage,fuzzing,stateful",
            "--max-examples", "8", "--seed", "7", "--workers", "1", "--no-color",
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
    print(output.decode()[-12_000:])
    assert process.returncode == 0
    assert "3 covered / 3 selected" in output.decode(), "the links from a queued job were not followed"


async def test_every_operation_describes_its_errors_and_its_reply() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        document = (await http.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert {"422", "500", "401", "429"} <= set(operation["responses"]), where
            for status, response in operation["responses"].items():
                assert response["description"], f"{where} {status}"
                if int(status) >= 400:
                    assert "application/problem+json" in response["content"], f"{where} {status}"
            for parameter in operation.get("parameters", []):
                assert parameter["description"], f"{where} {parameter['name']}"


async def test_every_example_is_a_reply_of_its_own_shape() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        document = (await http.get("/openapi.json")).json()
    components = {"components": document["components"]}
    seen = 0
    for operations in document["paths"].values():
        for operation in operations.values():
            for response in operation["responses"].values():
                content = response.get("content", {}).get("application/json", {})
                if "example" in content:
                    jsonschema.validate(content["example"], {**content["schema"], **components})
                    seen += 1
    assert seen == len(EXAMPLES)
