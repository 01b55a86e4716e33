"""Content faults: corrupt a valid JSON body in one particular way."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import orjson

from coincast_sandbox.faults.registry import Fault

_MARK = "@@number@@"
SERIES_KEYS = ("prices", "market_caps", "total_volumes")
CONTENT_KINDS = frozenset({"malformed", "nan", "gaps", "duplicates", "unequal", "jump", "clock"})


def corrupt(body: bytes, fault: Fault) -> bytes:
    """Apply a content fault to a body; a body that is not JSON is returned unchanged."""
    if fault.kind == "malformed":
        return body[: max(len(body) * 2 // 3, 1)]
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    rng = random.Random(fault.struck)
    if fault.kind == "nan":
        return _with_numbers(document, fault, rng)
    return orjson.dumps(_EDITS[fault.kind](document, fault, rng))


def _with_numbers(document: Any, fault: Fault, rng: random.Random) -> bytes:
    """Replace a share of the numbers (at least one) by the fault's value, verbatim.

    JSON libraries refuse to write NaN, so the value is inserted into the encoded text.
    """
    slots = [slot for slot in _number_slots(document) if not _is_time(slot)]
    chosen = rng.sample(slots, max(1, round(len(slots) * fault.share_points))) if slots else []
    for container, key in chosen:
        container[key] = _MARK
    return re.sub(f'"{_MARK}"'.encode(), fault.value.encode(), orjson.dumps(document))


def _number_slots(value: Any) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[Any, Any]] = []
    for key, inner in items:
        if isinstance(inner, dict | list):
            found += _number_slots(inner)
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            found.append((value, key))
    return found


def _is_time(slot: tuple[Any, Any]) -> bool:
    container, key = slot
    return bool(isinstance(container, list) and key == 0 and container[0] > 1e11) or key == "last_updated_at"


def _each_series(document: Any, edit: Callable[[list[Any]], list[Any]]) -> Any:
    if isinstance(document, list) and document and isinstance(document[0], list):
        return edit(document)
    if isinstance(document, dict):
        return {k: edit(v) if k in SERIES_KEYS else v for k, v in document.items()}
    return document


def _gaps(document: Any, fault: Fault, rng: random.Random) -> Any:
    """Drop the same points from each array."""
    lost = rng.random()
    return _each_series(
        document,
        lambda s: [p for i, p in enumerate(s) if random.Random(f"{lost}{i}").random() >= fault.share_points],
    )


def _duplicates(document: Any, fault: Fault, rng: random.Random) -> Any:
    def edit(series: list[Any]) -> list[Any]:
        doubled = rng.sample(series, min(len(series), max(1, round(len(series) * fault.share_points))))
        mixed = series + doubled
        tail = mixed[len(series) // 2 :]
        rng.shuffle(tail)
        return mixed[: len(series) // 2] + tail

    return _each_series(document, edit)


def _unequal(document: Any, fault: Fault, rng: random.Random) -> Any:
    if not isinstance(document, dict) or "prices" not in document:
        return document
    caps, volumes = document["market_caps"], document["total_volumes"]
    return document | {
        "market_caps": caps[: len(caps) * 3 // 4],
        "total_volumes": volumes[len(volumes) // 5 :],
    }


def _jump(document: Any, fault: Fault, rng: random.Random) -> Any:
    if isinstance(document, dict) and document.get("prices"):
        point = document["prices"][rng.randrange(len(document["prices"]))]
        point[1] *= fault.factor
        return document
    slots = [s for s in _number_slots(document) if not _is_time(s)]
    if slots:
        container, key = rng.choice(slots)
        container[key] *= fault.factor
    return document


def _clock(document: Any, fault: Fault, rng: random.Random) -> Any:
    for container, key in _number_slots(document):
        if _is_time((container, key)):
            container[key] += int(fault.shift_seconds * (1000 if key == 0 else 1))
    return document


_EDITS: dict[str, Callable[[Any, Fault, random.Random], Any]] = {
    "gaps": _gaps,
    "duplicates": _duplicates,
    "unequal": _unequal,
    "jump": _jump,
    "clock": _clock,
}
