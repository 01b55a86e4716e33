"""Every reply of the mirror satisfies CoinGecko's own description of its operation."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import orjson

from coincast.market.v1 import market_pb2 as pb
from coincast_market_data.passthrough.routes import ROUTES
from tests.contract.coingecko_schemas import needs_openapi, schema_errors
from tests.contract.market_harness import pro_sandbox, running_market, settings_for
from tests.contract.sandbox.test_sandbox_openapi import CASES

pytestmark = needs_openapi


async def test_each_mirrored_operation_satisfies_the_description(tmp_path: Path) -> None:
    errors: dict[str, list[str]] = {}
    with pro_sandbox() as sandbox:
        async with running_market(settings_for(sandbox, tmp_path)) as stub:
            for template, address in CASES:
                parts = urlsplit(address)
                request = pb.GetDocumentRequest(
                    path=parts.path.strip("/"), query=dict(parse_qsl(parts.query))
                )
                reply = await stub.GetDocument(request, timeout=30)
                assert reply.error_status == 0, (address, reply.json[:200])
                document = orjson.loads(reply.json)
                assert document, f"{address}: an empty reply would satisfy nearly any description"
                if found := schema_errors(document, template, "pro")[:5]:
                    errors[address] = found
    assert errors == {}


def test_each_mirrored_operation_has_a_case() -> None:
    paths = [urlsplit(address).path.strip("/") for _, address in CASES]
    missing = [
        route.pattern.pattern for route in ROUTES if not any(route.pattern.fullmatch(path) for path in paths)
    ]
    assert missing == []
