"""Recorded replies of CoinGecko, and an upstream that serves them."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDER = REPOSITORY.parent / "shared" / "data" / "coingecko" / "recorded"
DIFFERENCES = REPOSITORY / "docs" / "coingecko-compatibility.md"
LISTS = {"ids", "vs_currencies", "names", "symbols", "vs_currency"}
# Parameters of old clients that no path has.
IGNORED = {"id", "query", "include_contract_address"}
SIMPLE_PRICE = "simple/price"


@dataclass(frozen=True)
class Recording:
    """One reply: path below /api/v3 without slashes at the ends, parameters, status and body."""

    name: str
    path: str
    target: str
    query: tuple[tuple[str, str], ...]
    status: int
    body: bytes

    @property
    def keys(self) -> set[Any]:
        """What must differ between recordings that one stack can serve one after the other."""
        query = dict(self.query)
        if self.path == SIMPLE_PRICE and self.status == 200:
            return {
                (coin, code)
                for coin in query.get("ids", "").split(",")
                for code in query.get("vs_currencies", "").split(",")
            }
        return {(self.path, self.sent)}

    @property
    def sent(self) -> tuple[tuple[str, str], ...]:
        """The parameters that CoinGecko knows, so that the service forwards them."""
        return tuple((name, value) for name, value in self.query if name not in IGNORED)

    def answers(self, path: str, query: dict[str, str]) -> bool:
        """Return whether the recording is the reply to a request of the service."""
        if path != self.path or (self.status >= 400 and not self.query and query):
            return False
        return all(query.get(name) == value for name, value in self.sent)


def load_recordings(folder: Path = FOLDER) -> list[Recording]:
    """Return every recording of the folder; none where it is absent."""
    return [_load(path) for path in sorted(folder.glob("*.json*"))]


def rounds(recordings: list[Recording]) -> list[list[Recording]]:
    """Return the recordings in groups in which no two answer the same question."""
    groups: list[tuple[set[Any], list[Recording]]] = []
    for recording in recordings:
        for used, group in groups:
            if not used & recording.keys:
                used.update(recording.keys)
                group.append(recording)
                break
        else:
            groups.append((set(recording.keys), [recording]))
    return [group for _, group in groups]


def deliberate_differences() -> dict[str, int]:
    """Return path pattern -> status of the table of deliberate differences."""
    text = DIFFERENCES.read_text().split("## Deliberate differences")[1]
    rows = re.findall(r"^\| `([^`]+)` \| (\d{3}) \|", text, re.MULTILINE)
    return {_pattern(path): int(status) for path, status in rows}


def _pattern(path: str) -> str:
    return re.sub(r"\{[a-z_]+\}", "[^/]+", path).replace("**", ".+")


class RecordedUpstream:
    """An HTTP transport that answers with recordings, and with 404 for all else."""

    def __init__(self) -> None:
        self.recordings: list[Recording] = []
        self.requests: list[str] = []

    def transport(self) -> httpx2.MockTransport:
        """Return the transport."""
        return httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Return the recorded reply to a request."""
        path = request.url.path.removeprefix("/api/v3").strip("/")
        query = dict(_canonical(name, value) for name, value in request.url.params.items())
        self.requests.append(str(request.url))
        found = [recording for recording in self.recordings if recording.answers(path, query)]
        if found:
            closest = max(found, key=lambda recording: len(recording.sent))
            return _response(closest.status, closest.body)
        return _response(404, b'{"error":"coin not found"}')


def _response(status: int, body: bytes) -> httpx2.Response:
    # A body that was read already cannot be streamed.
    return httpx2.Response(
        status, stream=httpx2.ByteStream(body), headers={"content-type": "application/json"}
    )


def _load(path: Path) -> Recording:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    document = json.loads(text)
    parts = urlsplit(document["uri"])
    inner = parts.path.removeprefix("/api/v3")
    query = tuple(sorted(_canonical(name, value) for name, value in parse_qsl(parts.query)))
    target = inner + (f"?{parts.query}" if parts.query else "")
    return Recording(
        path.name, inner.strip("/"), target, query, document["status"], document["body"].encode()
    )


def _canonical(name: str, value: str) -> tuple[str, str]:
    if name in LISTS:
        return name, ",".join(sorted({part.strip().lower() for part in value.split(",") if part.strip()}))
    return name, value
