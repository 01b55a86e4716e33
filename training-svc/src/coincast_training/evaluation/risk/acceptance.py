"""Acceptance criteria of risk answers: each measured value with its bound (must) and target (aim)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Results = Mapping[str, Any]
LEVELS = ("95", "97.5", "99")
Range = tuple[float, float]


def demanded(results: Results) -> list[dict[str, Any]]:
    """Return one entry for each criterion: name, value, must, aim, holds and reaches_aim.

    `must` and `aim` are closed ranges. A criterion that cannot be measured on the chosen days and coins has
    the value None.
    """
    parts = (_coverage, _tail_losses, _pinball, _touch, _joint, _exact)
    return [entry for part in parts for entry in part(results)]


def _entry(name: str, value: float | None, must: Range, aim: Range | None) -> dict[str, Any]:
    if value is not None and value != value:  # noqa: PLR0124 - NaN is unlike itself
        value = None

    def within(bounds: Range | None) -> bool | None:
        return None if value is None or bounds is None else bounds[0] <= value <= bounds[1]

    return {
        "name": name,
        "value": value,
        "must": list(must),
        "aim": None if aim is None else list(aim),
        "holds": within(must),
        "reaches_aim": within(aim),
    }


INFINITY = float("inf")


def _at_least(name: str, value: float | None, must: float, aim: float | None) -> dict[str, Any]:
    return _entry(name, value, (must, INFINITY), None if aim is None else (aim, INFINITY))


def _at_most(name: str, value: float | None, must: float, aim: float | None) -> dict[str, Any]:
    return _entry(name, value, (-INFINITY, must), None if aim is None else (-INFINITY, aim))


def _get(tree: Any, path: str) -> Any:
    """Return the value at a path of keys like `models/7/lstm`, or None if a key is missing."""
    for step in path.split("/"):
        if not isinstance(tree, Mapping) or step not in tree:
            return None
        tree = tree[step]
    return tree


def _three(bounds: tuple[Range, Range, Range]) -> dict[str, Range]:
    return dict(zip(LEVELS, bounds, strict=True))


def _coverage(r: Results) -> Iterator[dict[str, Any]]:
    must = _three(((3.9, 6.2), (1.6, 3.4), (0.5, 1.6)))
    aim = _three(((4.5, 5.6), (2.0, 3.0), (0.7, 1.3)))
    for group, name in (("equal", "equal weight"), ("long_only", "200 long-only"), ("bitcoin", "bitcoin")):
        for level in LEVELS:
            value = _get(r, f"var/1/groups/{group}/{level}/hits_percent")
            yield _entry(f"{name}: exceedances at {level} %, 1 d, %", value, must[level], aim[level])
    must = _three(((4.4, 5.6), (1.9, 3.1), (0.6, 1.4)))
    aim = _three(((4.7, 5.3), (2.2, 2.8), (0.8, 1.2)))
    for level in LEVELS:
        found = _get(r, f"var/1/groups/long_short/{level}")
        value = _get(found, "hits_percent")
        yield _entry(f"200 long/short: mean exceedances at {level} %, 1 d, %", value, must[level], aim[level])
        value = _get(found, "kupiec_rejects_percent")
        yield _at_most(f"200 long/short: share that Kupiec rejects at {level} %, 1 d, %", value, 20.0, 10.0)
    must = _three(((2.5, 7.0), (1.0, 4.0), (0.0, 2.0)))
    aim = _three(((3.5, 6.0), (1.5, 3.2), (0.4, 1.5)))
    for level in LEVELS:
        value = _get(r, f"var/7/groups/equal/{level}/hits_percent")
        yield _entry(f"equal weight: exceedances at {level} %, 7 d, %", value, must[level], aim[level])


def _tail_losses(r: Results) -> Iterator[dict[str, Any]]:
    names = {
        "equal": "equal weight",
        "long_only": "200 long-only",
        "bitcoin": "bitcoin",
        "long_short": "200 long/short",
    }
    for group, name in names.items():
        for level in LEVELS:
            value = _get(r, f"var/1/groups/{group}/{level}/loss_over_es")
            yield _entry(f"{name}: loss over ES on hits at {level} %, 1 d", value, (0.90, 1.12), (0.95, 1.06))


def _pinball(r: Results) -> Iterator[dict[str, Any]]:
    def gain(horizon: str, peer: str, group: str, level: str, what: str = "pinball_gain_percent") -> Any:
        return _get(r, f"var/{horizon}/against/{peer}/{group}/{level}/{what}")

    for level, must, aim in zip(LEVELS, (4.0, 5.5, 5.5), (6.0, 9.0, 11.0), strict=True):
        name = f"long/short: pinball gain over HS 250 at {level} %, 1 d"
        yield _at_least(f"{name}, %", gain("1", "hs_250", "long_short", level), must, aim)
        value = gain("1", "hs_250", "long_short", level, "diebold_mariano")
        yield _at_least(f"{name}, Diebold-Mariano", value, 3.0, None)
    for peer, title in (("garch_t", "GARCH-t"), ("garch_t_fhs", "GARCH-t FHS")):
        for level, must, aim in zip(LEVELS, (1.2, 1.3, 0.0), (2.8, 3.3, 3.0), strict=True):
            value = gain("1", peer, "long_short", level)
            yield _at_least(f"long/short: pinball gain over {title} at {level} %, 1 d, %", value, must, aim)
        value = gain("1", peer, "long_short", "95", "diebold_mariano")
        yield _at_least(f"long/short: over {title} at 95 %, 1 d, Diebold-Mariano", value, 2.0, None)
    for level, must, aim in zip(LEVELS, (0.0, 0.0, -3.0), (2.5, 3.5, 2.0), strict=True):
        value = gain("1", "garch_t", "equal", level)
        yield _at_least(f"equal weight: pinball gain over GARCH-t at {level} %, 1 d, %", value, must, aim)
    for level, must in zip(LEVELS, (-2.0, -2.5, -4.0), strict=True):
        value = gain("7", "garch_t_fhs", "long_short", level)
        yield _at_least(f"long/short: pinball gain over GARCH-t FHS at {level} %, 7 d, %", value, must, 0.0)


def _touch(r: Results) -> Iterator[dict[str, Any]]:
    bounds = {"1": (4.8, 6.0), "3": (3.0, 4.2), "7": (1.9, 3.1), "14": (1.3, 2.7)}
    tail_aims = {"1": 0.2, "3": 0.3, "7": 0.5, "14": 0.6}
    for h, (must, aim) in bounds.items():
        found = _get(r, f"touch/{h}")
        value = _get(found, "brier_skill_percent")
        yield _at_least(f"touch: Brier skill over lognormal, {h} d, %", value, must, aim)
        value = _get(found, "diebold_mariano")
        yield _at_least(f"touch: its Diebold-Mariano statistic, {h} d", value, 3.0, None)
        value = _get(found, "over_twice_tail_percent")
        yield _at_least(f"touch: Brier skill over twice the tail, {h} d, %", value, -0.1, tail_aims[h])
        far = h == "14"
        value = _get(found, "calibration_error")
        must_error, aim_error = (1.5, 0.6) if far else (1.0, 0.4)
        yield _at_most(f"touch: calibration error, {h} d, points", value, must_error, aim_error)
        bins = [b for b in _get(found, "bins") or [] if b["count"] >= 1000]
        worst = max((abs(b["forecast"] - b["observed"]) for b in bins), default=None)
        must_bin, aim_bin = (6.0, 3.0) if far else (2.5, 1.2)
        yield _at_most(f"touch: farthest bin of 1,000 or more, {h} d, points", worst, must_bin, aim_bin)


def _joint(r: Results) -> Iterator[dict[str, Any]]:
    rows = (
        ("independent", "independent coins", 2.0, 2.6),
        ("hs_250", "HS 250", 0.4, 1.3),
        ("ewma", "EWMA", 0.3, 1.0),
    )
    for method, title, must, aim in rows:
        value = _get(r, f"joint/energy/{method}/gain_percent")
        yield _at_least(f"joint paths: energy gain over {title}, %", value, must, aim)
    value = _get(r, "joint/energy/gaussian_copula/gain_percent")
    yield _at_least("joint paths: energy gain over a Gaussian copula, %", value, -0.1, 0.1)
    value = _get(r, "joint/variogram/gaussian_copula/gain_percent")
    yield _at_least("joint paths: variogram gain over a Gaussian copula, %", value, 0.0, 0.6)
    falls = _get(r, "joint/falls")
    value = None if falls is None else falls["forecast_percent"] - falls["observed_percent"]
    coins = "" if falls is None else f" of {falls['coins']}"
    name = f"chance that one{coins} coins closes below -5 %"
    yield _entry(f"{name}: forecast minus observed, points", value, (-2.5, 2.5), (-1.2, 1.2))
    value = _get(falls, "over_flipped/gain_percent")
    yield _at_least(f"{name}: Brier gain over flipped signs, %", value, 1.0, 3.0)


def _exact(r: Results) -> Iterator[dict[str, Any]]:
    value = _get(r, "var/components_sum_off")
    yield _at_most(
        "components of ES: difference of their sum from the total, as a share of the holdings",
        value,
        1e-9,
        1e-12,
    )
    value = _get(r, "milliseconds")
    yield _at_most("1,000 paths x 10 coins x 7 days, ms of processor time", value, 20.0, 5.0)
