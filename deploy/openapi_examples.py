"""Record the examples of the gateway's OpenAPI from real replies.

Usage: `python deploy/openapi_examples.py URL [TOKEN]`. URL is a running system (`make run`). TOKEN is the
token of its administrator, which operations that change something need. Every operation of the OpenAPI
document is called. Lists, long maps and texts are shortened; otherwise the replies are recorded unchanged. If
an operation fails, its present example is kept and its name is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx2
import orjson

TARGET = (
    Path(__file__).resolve().parent.parent / "gateway/src/coincast_gateway/schemas/responses/examples.json"
)
# Requests with more detail than the examples of the parameters.
PATHS = {
    "prices": "/prices?ids=bitcoin,etherum",
    "prices_stream": "/prices/stream?ids=bitcoin",
    "markets": "/markets?per_page=1",
    "coins": "/coins?query=bitcoin&limit=2",
    "history": "/coins/bitcoin/history?days=2",
    "ohlc": "/coins/bitcoin/ohlc?days=7",
    "forecasts": "/forecasts?ids=bitcoin&days=2&model=lightgbm&quantiles=0.1,0.9",
    "explain": "/forecasts/explain?ids=bitcoin&days=1&model=lightgbm&features=2",
    "touch": "/forecasts/touch?ids=bitcoin&level=5%25&days=2",
    "scenarios": "/forecasts/scenarios?ids=bitcoin&days=2&paths=2",
    "export_histories": "/export/histories?ids=bitcoin&days=2&format=csv",
    "export_ledger": "/export/ledger?format=csv",
    "versions": "/models?model=lightgbm",
    "jobs": "/training/jobs?limit=1",
    "health_component": "/health/components/redis",
    "problem": "/problems/not-found",
    "mirror_coins_markets": "/api/v3/coins/markets?vs_currency=usd&per_page=1",
}
# In this order, since some of these requests need the results of earlier ones.
CHANGES: dict[str, tuple[str, str, Any]] = {
    "portfolio": (
        "POST",
        "/risk/portfolio",
        {"holdings": [{"id": "bitcoin", "value": 6000}], "levels": [95]},
    ),
    "submit_job": ("POST", "/training/jobs", {"model": "lightgbm", "ids": ["bitcoin"], "days": 365}),
    "job": ("GET", "/training/jobs/{job_id}", None),
    "job_logs": ("GET", "/training/jobs/{job_id}/logs?tail=2", None),
    "job_events": ("GET", "/training/jobs/{job_id}/events", None),
    "cancel_job": ("DELETE", "/training/jobs/{job_id}", None),
    "compare": ("GET", "/models/lightgbm/compare?a={version}&b={version}", None),
    "promote": ("POST", "/models/lightgbm/promote", {"version": "{version}", "alias": "shadow"}),
    "rollback": ("POST", "/models/lightgbm/rollback", {"reason": "worse than before"}),
    "retire": ("POST", "/models/lightgbm/retire", {"version": "{version}", "reason": "too old"}),
    "clean": ("POST", "/models/lightgbm/clean", {"keep": 5}),
    "audit": ("GET", "/models/audit?limit=2", None),
}
ITEMS = 2
# A map of figures, for example by currency, is shortened if it has more entries.
ENTRIES = 24
TEXT_CHARACTERS = 300


def cut(document: Any, *, maps: bool = False) -> Any:
    """Return the document with its lists shortened to the first items; with `maps`, long maps as well."""
    if isinstance(document, list):
        return [cut(item, maps=maps) for item in document[:ITEMS]]
    if isinstance(document, dict):
        items = list(document.items())
        if maps and len(items) > ENTRIES and not isinstance(items[0][1], dict | list):
            items = items[:ITEMS]
        return {name: cut(value, maps=maps) for name, value in items}
    return document


def example_of(http: httpx2.Client, operation: str, method: str, path: str, body: Any) -> Any:
    """Return the shortened reply of an operation.

    Of a stream this is the first event, of a text its first lines.

    Args:
        http: The client.
        operation: The id of the operation.
        method: The HTTP method.
        path: The path with its query.
        body: The JSON body, or None.

    Raises:
        httpx2.HTTPError: The operation failed.
    """
    with http.stream(method, path, json=body) as reply:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            text = ""
            for part in reply.iter_text():
                text += part
                if "\n\n" in text:
                    return text.partition("\n\n")[0] + "\n\n"
        reply.read()
        reply.raise_for_status()
        if reply.headers["content-type"].startswith("application/json"):
            return cut(reply.json(), maps=operation.startswith("mirror_"))
        return reply.text[:TEXT_CHARACTERS].rpartition("\n")[0]


def path_of(template: str, operation: dict[str, Any]) -> str:
    """Return the path of an operation, with the examples of its required parameters."""
    needed = [each for each in operation.get("parameters", ()) if each["required"]]
    query = [f"{each['name']}={each.get('example', '')}" for each in needed if each["in"] == "query"]
    for each in needed:
        if each["in"] == "path":
            template = template.replace(f"{{{each['name']}}}", str(each.get("example", "")))
    return template + ("?" + "&".join(query) if query else "")


def main(url: str, token: str = "") -> None:
    """Call every operation, and write the file of examples."""
    found = orjson.loads(TARGET.read_bytes())
    headers = {"x-api-key": token} if token else {}
    with httpx2.Client(base_url=url, timeout=60, trust_env=False, headers=headers) as http:
        document = http.get("/openapi.json").json()
        version = http.get("/models?model=lightgbm").json()["versions"][0]["version"]
        calls = {
            operation["operationId"]: (method.upper(), path_of(path, operation), None)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if operation["operationId"] not in CHANGES
        }
        calls |= {name: ("GET", path, None) for name, path in PATHS.items()}
        asset = http.get("/").text.partition("/assets/")[2].partition('"')[0]
        calls["asset"] = ("GET", f"/assets/{asset}", None)
        job_id = ""
        for name, (method, path, body) in (calls | CHANGES).items():
            filled = path.replace("{job_id}", job_id).replace("{version}", version)
            sent = orjson.loads(orjson.dumps(body).replace(b"{version}", version.encode()))
            try:
                # The example of the OpenAPI document is the beginning of that document.
                found[name] = (
                    example_of(http, name, method, filled, sent)
                    if name != "openapi"
                    else {key: document[key] for key in ("openapi", "info")}
                )
            except httpx2.HTTPError as error:
                sys.stderr.write(f"{name}: no new example ({error}).\n")
                continue
            if name == "submit_job":
                job_id = found[name]["job"]["job_id"]
    TARGET.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
