"""Acceptance criteria: measured figures with their bounds (must) and targets (aim)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coincast_training.evaluation.options import PRODUCT_MODELS

Summary = Mapping[str, Any]
DIRECTION_STUDIES = ("mean_lightgbm_seed", "reversal")
TERCILE_POINTS = {"1": 3.0, "7": 4.0}
# Bounds of the coverage of every model after calm, usual and wild days, in points, and of each year.
REGIME_POINTS = {"1": 4.0, "7": 4.0}
REGIME_POINTS_LATER = 8.0
YEAR_STANDARD_ERRORS = 2.0


def goals(summary: Summary) -> list[dict[str, Any]]:
    """Return one entry for each figure: name, value, must, aim, below, holds, reaches_aim.

    The value is None if it was not measured; must is None if the figure is only shown.
    """
    parts = (_point, _distribution, _coverage, _coverage_in_parts, _volatility, _direction)
    return [entry for part in parts for entry in part(summary)]


@dataclass(frozen=True, slots=True)
class AcceptanceSummary:
    """Figures with a bound: number measured, names of those that miss it, number not measured."""

    judged: int
    missed: tuple[str, ...]
    unmeasured: int

    @property
    def held(self) -> int:
        """Return the number of measured figures that meet their bound."""
        return self.judged - len(self.missed)

    @property
    def remark(self) -> str:
        """Return a remark about figures that were not measured; empty if there are none."""
        return f"; {self.unmeasured} were not measured" if self.unmeasured else ""


def summarise_acceptance(entries: Sequence[Mapping[str, Any]]) -> AcceptanceSummary:
    """Summarise the entries of `goals`."""
    bound = [entry for entry in entries if entry["must"] is not None]
    judged = [entry for entry in bound if entry["holds"] is not None]
    missed = tuple(entry["name"] for entry in judged if not entry["holds"])
    return AcceptanceSummary(len(judged), missed, len(bound) - len(judged))


def acceptance_entry(
    name: str, value: float | None, must: float | None, aim: float | None, *, below: bool = False
) -> dict[str, Any]:
    """Return the entry of one figure.

    Args:
        name: Name of the figure.
        value: The measured value; None if it was not measured.
        must: Bound; None if the figure is only shown.
        aim: Target; None without one.
        below: Whether the value must be at most the bounds, and not at least.
    """

    def meets(bound: float | None) -> bool | None:
        if value is None or bound is None or value != value:  # noqa: PLR0124 - NaN differs from itself
            return None
        return value <= bound if below else value >= bound

    return {
        "name": name,
        "value": value,
        "must": must,
        "aim": aim,
        "below": below,
        "holds": meets(must),
        "reaches_aim": meets(aim),
    }


def _get(tree: Any, path: str) -> Any:
    """Return the value at a path of keys such as `models/7/lstm`, or None if a key is missing."""
    for step in path.split("/"):
        if not isinstance(tree, Mapping) or step not in tree:
            return None
        tree = tree[step]
    return tree


def _point(s: Summary) -> Iterator[dict[str, Any]]:
    for h, bound in (("1", 5.0), ("7", 10.0)):
        walk = _get(s, f"models/{h}/random_walk/point/mape_percent")
        for model in PRODUCT_MODELS:
            value = _get(s, f"models/{h}/{model}/point/mape_percent")
            beside = "" if walk is None else f" (random walk {walk:.3f})"
            yield acceptance_entry(
                f"MAPE of {model}, {h} d, all coins{beside}", value, bound, None, below=True
            )
        value = _get(s, f"against/{h}/ml_ensemble/moving_average_30/point/skill_percent")
        yield acceptance_entry(f"ml_ensemble better than the 30-day moving average, {h} d", value, 30.0, None)
    for model, bound in (("lstm", 7.0), ("ml_ensemble", 6.0)):
        value = _get(s, f"by_coin_mape/7/{model}/bitcoin")
        walk = _get(s, "by_coin_mape/7/random_walk/bitcoin")
        yield acceptance_entry(f"bitcoin, 7 d, {model}", value, bound, walk, below=True)
    for model in PRODUCT_MODELS:
        for h in _get(s, "models") or {}:
            value = _get(s, f"against/{h}/{model}/random_walk/point/mape_ratio")
            yield acceptance_entry(
                f"MAPE of {model} over that of the random walk, {h} d", value, 1.005, None, below=True
            )
        found = [
            _get(s, f"against/{h}/{model}/random_walk/point/diebold_mariano") for h in _get(s, "models") or {}
        ]
        known = [x for x in found if x is not None and x == x]  # noqa: PLR0124 - NaN differs from itself
        best = max(known, default=None)
        yield acceptance_entry(
            f"MAPE of {model}, best Diebold-Mariano against the random walk", best, None, 2.0
        )


def _distribution(s: Summary) -> Iterator[dict[str, Any]]:
    bounds = {
        "garch_t_fhs": {"1": (0.8, 2.0), "7": (0.7, 2.0), "14": (0.0, 1.0), "30": (-0.5, 0.5)},
        "garch_normal": {"1": (2.5, 4.0), "7": (2.5, 4.0), "14": (2.0, 4.0), "30": (2.0, 4.0)},
        "gaussian_rw_60": {"1": (2.2, 3.5), "7": (1.1, 2.5), "14": (0.8, 2.0), "30": (0.4, 1.0)},
    }
    for baseline, by_horizon in bounds.items():
        for h, (must, aim) in by_horizon.items():
            found = _get(s, f"against/{h}/ml_ensemble/{baseline}/distribution")
            value = _get(found, "skill_percent")
            yield acceptance_entry(f"ml_ensemble, CRPS skill % against {baseline}, {h} d", value, must, aim)
    for h in ("1", "7"):
        found = _get(s, f"against/{h}/ml_ensemble/garch_t_fhs/distribution")
        yield acceptance_entry(
            f"its Diebold-Mariano statistic, {h} d", _get(found, "diebold_mariano"), 2.0, None
        )
        share = 100 * found["coins_better"] / found["coins"] if found else None
        yield acceptance_entry(f"coins on which ml_ensemble beats garch_t_fhs, %, {h} d", share, 80.0, None)
        value = _get(found, "winkler_80/skill_percent")
        yield acceptance_entry(f"ml_ensemble, Winkler 80 % against garch_t_fhs, {h} d", value, 2.0, 4.0)


def _coverage(s: Summary) -> Iterator[dict[str, Any]]:
    for h in _get(s, "models") or {}:
        found = _get(s, f"models/{h}/ml_ensemble/distribution")
        for level, must, aim in (("80", 2.0, 1.0), ("95", 1.5, 0.7)):
            value = _get(found, f"coverage_percent/{level}")
            off = None if value is None else abs(value - float(level))
            yield acceptance_entry(
                f"ml_ensemble, {level} % coverage off by, {h} d", off, must, aim, below=True
            )
        for name, part in (_get(found, "coverage_80_by_tercile") or {}).items():
            bound = TERCILE_POINTS.get(h, 2 * part["standard_error"])
            off = abs(part["coverage_percent"] - 80)
            yield acceptance_entry(
                f"ml_ensemble, 80 % coverage in {name} days off by, {h} d", off, bound, None, below=True
            )


def _coverage_in_parts(s: Summary) -> Iterator[dict[str, Any]]:
    """Yield the coverage of each model by year, and by regime for the models that `_coverage` omits."""
    for model in PRODUCT_MODELS:
        for h in _get(s, "models") or {}:
            found = _get(s, f"models/{h}/{model}/distribution")
            bound = REGIME_POINTS.get(h, REGIME_POINTS_LATER)
            for name, part in (_get(found, "coverage_80_by_tercile") or {}).items():
                if model == "ml_ensemble":
                    continue
                off = abs(part["coverage_percent"] - 80)
                yield acceptance_entry(
                    f"{model}, 80 % coverage in {name} days off by, {h} d", off, bound, None, below=True
                )
            for year, part in (_get(found, "coverage_80_by_year") or {}).items():
                error = part["standard_error"]
                off = abs(part["coverage_percent"] - 80) / error if error > 0 else None
                covered = f"{part['coverage_percent']:.1f} % covered in {year}"
                name = f"{model}, {covered}, standard errors off 80, {h} d"
                yield acceptance_entry(name, off, YEAR_STANDARD_ERRORS, None, below=True)


def _volatility(s: Summary) -> Iterator[dict[str, Any]]:
    for h in _get(s, "models") or {}:
        found = _get(s, f"against/{h}/ml_ensemble")
        if h in ("1", "7"):
            value = _get(found, "garch_normal/volatility/qlike/skill_percent")
            yield acceptance_entry(f"ml_ensemble, QLIKE against GARCH(1,1), {h} d", value, 10.0, 20.0)
            level = _get(found, "garch_normal/volatility/qlike_at_right_level/skill_percent")
            yield acceptance_entry(f"the same with both levels set right, {h} d", level, 10.0, 20.0)
        points = _get(found, "har/volatility/direction_points")
        yield acceptance_entry(
            f"ml_ensemble, volatility up or down, points above HAR, {h} d", points, 0.0, 2.0
        )


def _direction(s: Summary) -> Iterator[dict[str, Any]]:
    """Yield figures without a bound, since no model is expected to predict the direction of a price."""
    for h, models in (_get(s, "models") or {}).items():
        for name, found in models.items():
            direction = found.get("price_direction")
            if not direction or (name not in PRODUCT_MODELS and not name.startswith(DIRECTION_STUDIES)):
                continue
            for key, days in (("accuracy", "all days"), ("surest_quarter", "the most confident quarter")):
                low, high = direction["interval" if key == "accuracy" else f"{key}_interval"]
                text = f"price direction by {name}, {days}, % right [{low:.1f}, {high:.1f}], {h} d"
                yield acceptance_entry(text, direction[f"{key}_percent"], None, None)
