"""The whole OpenAPI against the running gateway: no 500 from any input, every reply as described."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest

from coincast_gateway.coingecko_compat.routes import COMPAT_ROUTES, PREFIX
from coincast_gateway.openapi import EXAMPLES
from tests.contract.gateway.fakes import world

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    async with world() as there:
        # Made by the first request, which on a busy machine may take longer than schemathesis waits.
        async with httpx2.AsyncClient(base_url=there.url, timeout=120) as http:
            assert (await http.get("/openapi.json")).status_code == 200
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
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        document = (await http.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert {"422", "500", "401", "429"} <= set(operation["responses"]), where
            for status, response in operation["responses"].items():
                assert response["description"], f"{where} {status}"
                if int(status) >= 400:
                    own = "application/json" if path.startswith(PREFIX) else "application/problem+json"
                    assert own in response["content"], f"{where} {status}"
            for parameter in operation.get("parameters", []):
                assert parameter["description"], f"{where} {parameter['name']}"


async def test_every_mirrored_path_is_described_as_it_answers() -> None:
    """The paths, what each cannot do without, and the shape of its errors."""
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        document = (await http.get("/openapi.json")).json()
        found = {path: each["get"] for path, each in document["paths"].items() if path.startswith(PREFIX)}
        assert {f"{PREFIX}/{mirrored.template}" for mirrored in COMPAT_ROUTES} < set(found)
        shape = {"$ref": "#/components/schemas/MirrorError", "components": document["components"]}
        for path, operation in found.items():
            needed = [each for each in operation["parameters"] if each["required"]]
            filled = path
            for each in needed:
                filled = filled.replace(f"{{{each['name']}}}", each["example"])
            query = {each["name"]: each["example"] for each in needed if each["in"] == "query"}
            for left_out in ["", *query]:
                requested = {name: value for name, value in query.items() if name != left_out}
                reply = await http.get(filled, params=requested)
                expected = {200, 404} if not left_out else {422}
                assert reply.status_code in expected, (path, left_out, reply.text)
                if reply.status_code >= 400:
                    jsonschema.validate(reply.json(), shape)


async def test_the_scope_that_each_operation_needs_is_said() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        document = (await http.get("/openapi.json")).json()
    needs: dict[str, set[str]] = {}
    for operations in document["paths"].values():
        for operation in operations.values():
            said = re.findall(r"scope `(\w+)`|(no) key", operation["description"])
            assert len(said) == 1, operation["operationId"]
            needs.setdefault("".join(said[0]), set()).add(operation["operationId"])
    assert {"versions", "compare", "prices", "mirror_simple_price"} <= needs["read"]
    assert {"promote", "rollback", "retire", "clean", "audit"} == needs["admin"]
    assert {"home", "health", "openapi"} <= needs["no"]


# What is mirrored from CoinGecko's error replies alone has no successful reply.
WITHOUT_REPLY = {"mirror_others"}


async def described() -> dict[str, Any]:
    """Return the OpenAPI document of a running gateway."""
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        document: dict[str, Any] = (await http.get("/openapi.json")).json()
    return document


async def test_every_word_of_the_description_is_explained() -> None:
    """Every property of every schema, every parameter and every tag has a description; nothing is exempt."""
    document = await described()
    missing = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, spec in schema.get("properties", {}).items()
        if not spec.get("description")
    ]
    missing += [
        name for name, each in document["components"]["schemas"].items() if not each.get("description")
    ]
    tags = {tag["name"]: tag.get("description") for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            missing += [
                f"{where} {each['name']}"
                for each in operation.get("parameters", ())
                if not each["description"]
            ]
            missing += [f"{where} tag {tag}" for tag in operation["tags"] if not tags.get(tag)]
    assert not missing
    assert document["servers"][0]["url"] == "/"
    assert "Data provided by CoinGecko" in document["info"]["description"]


async def test_every_example_is_a_reply_of_its_own_shape() -> None:
    """Every route has the example of a real reply, in its first media type: JSON where it has JSON."""
    document = await described()
    components = {"components": document["components"]}
    without, seen = set(), set()
    for operations in document["paths"].values():
        for operation in operations.values():
            name = operation["operationId"]
            found = [each for status, each in operation["responses"].items() if int(status) < 300]
            content = found[0].get("content", {}) if found else {}
            media_type = next(iter(content), "")
            assert media_type == "application/json" or "application/json" not in content, name
            example = content.get(media_type, {}).get("example")
            if example is None:
                without.add(name)
                continue
            seen.add(name)
            if media_type == "application/json":
                jsonschema.validate(example, {**content[media_type]["schema"], **components})
            else:
                assert isinstance(example, str), name
    assert without == WITHOUT_REPLY
    assert seen == set(EXAMPLES)
