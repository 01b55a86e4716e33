"""The active faults, and which of them apply to a call."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

KINDS = (
    "latency", "status", "drip", "reset", "hang", "malformed", "nan", "gaps", "duplicates", "unequal", "jump",
    "clock", "huge", "redirect",
)  # fmt: skip


class FaultError(Exception):
    """A fault specification is not valid; the message lists the allowed values."""


@dataclass(slots=True)
class Fault:
    """A fault; the fields after `share` are parameters of single kinds.

    `path` is a glob for paths below /api/v3. `times` is the number of calls that it affects; None means until
    it is removed. `share` is the share of matching calls that it affects, 0 to 1. `struck` counts affected
    calls.
    """

    kind: str
    path: str = "*"
    times: int | None = None
    share: float = 1.0
    seconds: float = 1.0
    status: int = 500
    body: int = 1
    retry_after: str | None = None
    seconds_per_chunk: float = 1.0
    chunk_bytes: int = 1
    after_bytes: int = 0
    value: str = "NaN"
    share_points: float = 0.1
    factor: float = 100.0
    shift_seconds: float = 3600.0
    megabytes: int = 200
    location: str = "http://127.0.0.1:1/"
    struck: int = field(default=0, init=False)
    id: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FaultError(f"kind must be one of {', '.join(KINDS)}")
        if not 1 <= self.body <= 6:
            raise FaultError("body must be 1 to 6")


class FaultRegistry:
    """The active faults, in the order in which they were added."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: dict[int, Fault] = {}
        self._ids = itertools.count(1)
        self._random = random.Random(seed)

    def add(self, spec: Mapping[str, Any]) -> int:
        """Add a fault from its JSON form and return its id.

        Raises:
            FaultError: A field is unknown, missing or not allowed.
        """
        known = {f.name for f in fields(Fault) if f.init}
        unknown = set(spec) - known
        if unknown or "kind" not in spec:
            raise FaultError(
                f"unknown or missing field: {', '.join(sorted(unknown)) or 'kind'}; known: {sorted(known)}"
            )
        fault = Fault(**spec)
        fault.id = next(self._ids)
        self._faults[fault.id] = fault
        return fault.id

    def remove(self, fault_id: int | None) -> None:
        """Remove one fault, or all for None."""
        if fault_id is None:
            self._faults.clear()
        else:
            self._faults.pop(fault_id, None)

    def listing(self) -> list[dict[str, Any]]:
        """Return every active fault; its field `struck` is the number of calls that it affected."""
        return [asdict(fault) for fault in self._faults.values()]

    def draw(self, path: str) -> list[Fault]:
        """Return the faults that apply to a call for `path` (below /api/v3), and count them."""
        struck = [
            f for f in self._faults.values() if fnmatchcase(path, f.path) and self._random.random() < f.share
        ]
        for fault in struck:
            fault.struck += 1
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self._faults[fault.id]
        return struck
