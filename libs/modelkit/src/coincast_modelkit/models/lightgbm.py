"""LightGBM on all coins: volatility from a HAR line and trees, a shrunk mean, a symmetric distribution."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.forecasts import MAX_HORIZON_DAYS, Forecasts, checked_horizons
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import Attribution
from coincast_modelkit.models.distributions import (
    LocationScale,
    ResidualShape,
    across_horizons,
    forecasts_of,
    regimes_of,
)
from coincast_modelkit.models.har import HarLine
from coincast_modelkit.models.level import checked_level, level_from_json, level_to_json
from coincast_modelkit.volatility import Regimes

if TYPE_CHECKING:
    from lightgbm import Booster

MIN_HISTORY_DAYS = 45
STATE = "model.json"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """One booster per anchor horizon (days); its output is multiplied by its weight in `weights` (A,)."""

    anchors: tuple[int, ...]
    boosters: tuple[Booster, ...]
    weights: Floats

    def predict(self, rows: Floats) -> Floats:
        """Return the weighted outputs (n, A) for rows (n, F); boosters with a weight of zero are skipped."""
        out = np.zeros((len(rows), len(self.anchors)))
        for j, (booster, weight) in enumerate(zip(self.boosters, self.weights, strict=True)):
            if weight:
                out[:, j] = weight * booster.predict(rows, num_threads=1)
        return out


class LightgbmModel:
    """Boosted trees on the features of the last day, pooled over all coins.

    The skill is in the volatility. The weights of the mean are estimated out of sample and mostly zero.
    """

    name = "lightgbm"
    max_horizon_days = MAX_HORIZON_DAYS
    min_history_days = MIN_HISTORY_DAYS

    def __init__(
        self,
        *,
        spec: FeatureSpec,
        line: HarLine,
        volatility: Head,
        mean: Head,
        shape: ResidualShape,
        volatility_errors: Floats,
        version: str = "",
        level: Mapping[int, float] | None = None,
    ) -> None:
        self.spec = spec
        self.line = line
        self.volatility = volatility
        self.mean = mean
        self.shape = shape
        self.volatility_errors = volatility_errors
        self.version = version
        self.level = checked_level(level or {}, volatility.anchors)
        self._form = LocationScale(volatility.anchors, mean.anchors, shape)
        self._explaining = threading.Lock()

    def log_volatility(self, rows: Floats) -> Floats:
        """Forecast the log of realised daily volatility at the anchors, (n, A), from feature rows (n, F)."""
        found = self.line.predict(rows, self.spec.names) + self.volatility.predict(rows)
        return np.asarray(found + [self.level.get(days, 0.0) for days in self.volatility.anchors])

    @property
    def level_anchors(self) -> tuple[int, ...]:
        """Return the horizons (days) at which the level of the widths can be corrected."""
        return self.volatility.anchors

    def with_level(self, level: Mapping[int, float]) -> Self:
        """Return a copy of the model with log volatility shifted at the anchors; see `LevelAdjustable`."""
        return type(self)(
            spec=self.spec,
            line=self.line,
            volatility=self.volatility,
            mean=self.mean,
            shape=self.shape,
            volatility_errors=self.volatility_errors,
            version=self.version,
            level=level,
        )

    def distribution(self, rows: Floats, regimes: Regimes, horizons: Sequence[int]) -> tuple[Floats, Floats]:
        """Return log volatility (n, H) and log-return quantiles (n, H, Q).

        Args:
            rows: Features, (n, F).
            regimes: Volatility regimes, (n,).
            horizons: H horizons in days.
        """
        at_anchors, scores = self.log_volatility(rows), self.mean.predict(rows)
        quantiles = self._form.quantiles(at_anchors, scores, horizons, regimes=regimes)
        return self._form.log_volatility(at_anchors, horizons), quantiles

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        """Forecast every coin at every horizon; see ForecastModel."""
        wanted = checked_horizons(horizons, self.max_horizon_days)
        return forecasts_of(
            prepared,
            wanted,
            lambda coins: self.distribution(np.stack([c.row for c in coins]), regimes_of(coins), wanted),
            min_history_days=self.min_history_days,
            calibration=self.shape.calibration(wanted),
            errors=across_horizons(self.volatility.anchors, self.volatility_errors, wanted),
            agreeing=self.shape.agreeing,
        )

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        """Return SHAP values of the volatility (line and trees) and of the mean, at the nearest anchor."""
        checked_horizons([horizon], self.max_horizon_days)
        found = self._volatility_parts(prepared.row, horizon) + self._mean_parts(prepared.row, horizon)
        return sorted(found, key=lambda a: -abs(a.contribution))[:top]

    def _volatility_parts(self, row: Floats, horizon: int) -> list[Attribution]:
        anchor = _nearest(self.volatility.anchors, horizon)
        parts = dict(zip(self.spec.names, self._shap(self.volatility, anchor, row), strict=True))
        for name, value in self.line.contributions(row, self.spec.names, anchor).items():
            parts[name] = parts.get(name, 0.0) + value
        return self._attributions(parts, row, "volatility", horizon)

    def _mean_parts(self, row: Floats, horizon: int) -> list[Attribution]:
        anchor = _nearest(self.mean.anchors, horizon)
        if not self.mean.weights[anchor]:
            return []
        volatility = self._form.log_volatility(self.log_volatility(row[None]), [horizon])
        scale = float(np.exp(volatility[0, 0]) * np.sqrt(min(horizon, self.mean.anchors[-1])))
        parts = dict(zip(self.spec.names, scale * self._shap(self.mean, anchor, row), strict=True))
        return self._attributions(parts, row, "mean", horizon)

    def _shap(self, head: Head, anchor: int, row: Floats) -> Floats:
        # LightGBM's contributions are not safe to compute from two threads at once.
        with self._explaining:
            values = head.boosters[anchor].predict(row[None], pred_contrib=True, num_threads=1)
        return np.asarray(head.weights[anchor] * np.asarray(values)[0, :-1])

    def _attributions(
        self, parts: dict[str, float], row: Floats, output: str, horizon: int
    ) -> list[Attribution]:
        at = {name: i for i, name in enumerate(self.spec.names)}
        return [
            Attribution(name, float(row[at[name]]) if name in at else float("nan"), float(v), output, horizon)
            for name, v in parts.items()
            if v
        ]

    def save(self, folder: Path) -> None:
        """Write a text file for each booster and one JSON file."""
        for kind, head in (("volatility", self.volatility), ("mean", self.mean)):
            for days, booster in zip(head.anchors, head.boosters, strict=True):
                (folder / f"{kind}_{days}.txt").write_text(booster.model_to_string(), encoding="utf-8")
        state = {
            "features": list(self.spec.names),
            "line": self.line.to_dict(),
            "shape": self.shape.to_dict(),
            "volatility_errors": self.volatility_errors.tolist(),
            "volatility": {"anchors": self.volatility.anchors, "weights": self.volatility.weights.tolist()},
            "mean": {"anchors": self.mean.anchors, "weights": self.mean.weights.tolist()},
            **({"level": level_to_json(self.level)} if self.level else {}),
        }
        text = json.dumps(state, indent=1, sort_keys=True, allow_nan=False)
        (folder / STATE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """Read the files of `save`. LightGBM's parser is not memory-safe: verify the digests first."""
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return cls(
            spec=FeatureSpec(tuple(state["features"])),
            line=HarLine.from_dict(state["line"]),
            volatility=_load_head(folder, "volatility", state["volatility"]),
            mean=_load_head(folder, "mean", state["mean"]),
            shape=ResidualShape.from_dict(state["shape"]),
            volatility_errors=np.array(state["volatility_errors"]),
            version=version,
            level=level_from_json(state.get("level", {})),
        )


def _load_head(folder: Path, kind: str, state: dict[str, Any]) -> Head:
    from lightgbm import Booster  # noqa: PLC0415 - slow to import, and the fallback does not need it

    anchors = tuple(int(a) for a in state["anchors"])
    texts = [(folder / f"{kind}_{days}.txt").read_text(encoding="utf-8") for days in anchors]
    boosters = tuple(Booster(model_str=text) for text in texts)
    return Head(anchors, boosters, np.array(state["weights"], dtype=np.float64))


def _nearest(anchors: Sequence[int], horizon: int) -> int:
    """Return the index of the nearest anchor in the log of the horizon."""
    return int(np.argmin(np.abs(np.log(np.asarray(anchors)) - np.log(horizon))))
