"""Trends: thinned with age, gaps shown, merged by what counts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock
from coincast_gateway.edge.request_metrics import percentile
from coincast_gateway.health.trends import TrendStore, gaps, merge_samples


def sample(at: float, **values: Any) -> dict[str, Any]:
    return {"at": at, "statuses": {"gateway": "ok"}, **values}


async def test_samples_are_thinned_and_a_silence_is_a_gap() -> None:
    clock = ManualClock(1_700_000_000 // 1800 * 1800)
    store = TrendStore(None, clock)
    for _ in range(360):
        await store.add(sample(clock.now(), p50_ms=1.0))
        clock.advance(10)
    clock.advance(600)
    await store.add(sample(clock.now(), p50_ms=2.0))
    fine = await store.read(2)
    assert fine["step_seconds"] == 30
    assert sum(p["sample"] is not None for p in fine["points"]) == 121
    silent = [gap for gap in fine["gaps"] if gap["from"] >= 1_700_000_000 // 1800 * 1800]
    assert [gap["to"] - gap["from"] for gap in silent] == [600]
    assert (await store.read(24))["step_seconds"] == 300
    assert (await store.read(168))["step_seconds"] == 1800


def test_merging_takes_the_mean_or_the_worst() -> None:
    first = sample(1, p50_ms=1.0, p99_ms=5.0, cpu_percent=None)
    second = {"at": 2, "statuses": {"gateway": "down"}, "p50_ms": 3.0, "p99_ms": 1.0, "cpu_percent": None}
    whole = merge_samples([first, second])
    assert (whole["p50_ms"], whole["p99_ms"], whole["cpu_percent"]) == (2.0, 5.0, None)
    assert whole["statuses"] == {"gateway": "down"}
    assert whole["samples"] == 2


@given(st.lists(st.booleans(), max_size=50))
def test_gaps_cover_exactly_what_is_missing(present: list[bool]) -> None:
    points: list[dict[str, Any]] = [
        {"at": 30 * i, "sample": {} if there else None} for i, there in enumerate(present)
    ]
    covered = {at for gap in gaps(points, 30) for at in range(gap["from"], gap["to"], 30)}
    assert covered == {p["at"] for p in points if p["sample"] is None}


@given(st.lists(st.floats(0, 1e3), min_size=1), st.sampled_from([50, 90, 95, 99]))
def test_a_percentile_is_the_nearest_rank(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert sum(v <= found for v in ordered) >= percent / 100 * len(ordered)
    assert sum(v < found for v in ordered) < percent / 100 * len(ordered)
