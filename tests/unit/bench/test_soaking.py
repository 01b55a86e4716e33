"""The soak report distinguishes a leak from noise and from a cache that fills up."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))

from soaking.report import slope_row

SECONDS = [float(10 * i) for i in range(300)]


def row(values: np.ndarray, kind: str = "memory_mb") -> dict[str, object]:
    return slope_row("x", kind, SECONDS, [float(v) for v in values])


def test_a_leak_of_30_mb_in_the_run_is_seen_through_noise() -> None:
    rng = np.random.default_rng(7)
    leak = 100 + np.linspace(0, 30, 300) + rng.normal(0, 5, 300)
    found = row(leak)
    assert found["grows"]
    assert found["per_hour"] == pytest.approx(30 / 2990 * 3600, rel=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_spikes_are_no_leak(seed: int) -> None:
    rng = np.random.default_rng(seed)
    level = 100 + rng.normal(0, 8, 300)
    level[rng.integers(0, 300, 20)] += 200
    assert not row(level)["grows"]


def test_a_cache_that_fills_and_stays_is_no_leak() -> None:
    assert not row(np.minimum(100 + np.arange(300), 140.0))["grows"]


def test_a_pool_that_grows_once_in_the_middle_is_no_leak() -> None:
    assert not row(np.where(np.arange(300) < 140, 32.0, 75.0), "descriptors")["grows"]


def test_a_leak_that_begins_in_the_middle_is_one() -> None:
    assert row(100 + np.maximum(np.arange(300) - 100.0, 0))["grows"]


def test_a_few_descriptors_are_no_leak_but_many_are() -> None:
    assert not row(np.linspace(20, 25, 300), "descriptors")["grows"]
    assert row(np.linspace(20, 60, 300), "descriptors")["grows"]
