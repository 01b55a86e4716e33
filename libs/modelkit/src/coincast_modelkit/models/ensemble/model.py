"""ml_ensemble: classical scales and boosted trees pooled in logs, with sizes calibrated by volatility regime.

The point forecast is the last price, since no forecast of the mean was found that beats it; the skill is in
the width of the distribution. The model is a log pool of scales (Genest and Zidek 1986), whose weights and
residual sizes are learnt from out-of-sample forecasts. The distribution is symmetric: a drift estimated from
the past adds more error than it removes. If TensorFlow was installed during training, a recurrent network is
another member.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.forecasts import MAX_HORIZON_DAYS, PROBABILITIES, Forecasts, checked_horizons
from coincast_modelkit.hourly.day_measures import TERMS
from coincast_modelkit.intervals import symmetric_quantiles
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import Attribution
from coincast_modelkit.models.distributions import (
    across_horizons,
    agreeing_volatility,
    assemble,
    normal_cdf,
    regimes_of,
)
from coincast_modelkit.models.ensemble.horizon_pool import BOOSTERS, MEMBERS, RNN, Pool, Scales, with_rnn
from coincast_modelkit.models.ensemble.hours_member import HOURS, HoursMember, hours_outlook
from coincast_modelkit.models.ensemble.rnn_member import RnnMember
from coincast_modelkit.models.level import checked_level, level_from_json, level_to_json
from coincast_modelkit.models.scales import Inputs, inputs_of, joined

LEVELS = 2.0 * PROBABILITIES[len(PROBABILITIES) // 2 :] - 1.0
MIN_HISTORY_DAYS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """The members and their pool at one horizon, and the hours member for each source of hours."""

    scales: Scales
    pool: Pool
    hours: Mapping[str, HoursMember] = field(default_factory=dict)


class EnsembleModel:
    """The ensemble model. Horizons between the anchors are interpolated in the log of the horizon."""

    name = "ml_ensemble"
    max_horizon_days = MAX_HORIZON_DAYS
    min_history_days = MIN_HISTORY_DAYS

    def __init__(
        self,
        anchors: Sequence[Anchor],
        spec: FeatureSpec,
        *,
        rnn: RnnMember | None = None,
        version: str = "",
        agreeing: bool = True,
        level: Mapping[int, float] | None = None,
    ) -> None:
        if not anchors:
            raise ValueError("an ensemble needs at least one anchor horizon")
        self.anchors = tuple(anchors)
        self.spec = spec
        self.rnn = rnn
        self.version = version
        # False for artifacts from before this rule: their volatility may contradict their intervals.
        self.agreeing = agreeing
        self.level = checked_level(level or {}, [a.scales.horizon for a in anchors])
        self._explaining = threading.Lock()
        self.horizons = tuple(a.scales.horizon for a in self.anchors)

    @property
    def members(self) -> tuple[str, ...]:
        """Return the names of the members, in the order of the weights."""
        return MEMBERS if self.rnn is None else (*MEMBERS, RNN)

    @property
    def reads_hours(self) -> bool:
        """Return whether the model has an hours member, for better forecasts of coins with known hours."""
        return any(anchor.hours for anchor in self.anchors)

    @property
    def level_anchors(self) -> tuple[int, ...]:
        """Return the horizons (days) at which the level of the widths can be corrected."""
        return self.horizons

    def with_level(self, level: Mapping[int, float]) -> Self:
        """Return a copy of the model with its log scales shifted at the anchors; see `LevelAdjustable`."""
        return type(self)(
            self.anchors,
            self.spec,
            rnn=self.rnn,
            version=self.version,
            agreeing=self.agreeing,
            level=level,
        )

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        """Forecast every coin at every horizon; see ForecastModel."""
        wanted = checked_horizons(horizons, self.max_horizon_days)
        shape = (len(prepared), len(wanted))
        volatility, trailing, rise = (np.full(shape, np.nan) for _ in range(3))
        quantiles = np.full((*shape, len(PROBABILITIES)), np.nan)
        good = [i for i, coin in enumerate(prepared) if len(coin.candles) >= self.min_history_days]
        if good:
            coins = [prepared[i] for i in good]
            trailing[good] = [coin.trailing(wanted) for coin in coins]
            parts = self._forecast(coins, wanted)
            quantiles[good], volatility[good], median, error = parts
            rise[good] = normal_cdf((median - np.log(trailing[good])) / error)
        return assemble(
            prepared, wanted, quantiles=quantiles, volatility=volatility, trailing=trailing, rise=rise
        )

    def _forecast(
        self, coins: Sequence[ModelInput], horizons: tuple[int, ...]
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return quantiles (n, H, Q), daily volatility, median and standard error of its log, (n, H) each."""
        inputs = [inputs_of(c.row[None], c.candles, self.spec, regimes_of([c])) for c in coins]
        now = joined(inputs)
        logs, sizes, medians, factors, errors = [], [], [], [], []
        for anchor, members in zip(self.anchors, self._members(coins, inputs), strict=True):
            root = 0.5 * np.log(anchor.scales.horizon)
            found = _pooled(anchor, members, now)
            for source, hours in anchor.hours.items():
                rows = {
                    i: c.hours.values for i, c in enumerate(coins) if c.hours and c.hours.source == source
                }
                if rows:
                    at = list(rows)
                    those = joined([inputs[i] for i in at])
                    own = hours.scale.forecast(those, np.stack(list(rows.values())), self.spec)
                    found.replace(at, _with_hours(hours, members[at], found.log_scale[at], own, those))
            moved = self.level.get(anchor.scales.horizon, 0.0) - root
            logs.append(found.log_scale + moved)
            medians.append(found.outlook + moved)
            sizes.append(found.sizes)
            factors.append(found.factor)
            errors.append(found.error)
        days = np.array(horizons, dtype=np.float64)[:, None]
        scale = np.exp(across_horizons(self.horizons, np.stack(logs), horizons)) * np.sqrt(days)
        upper = across_horizons(self.horizons, np.stack(sizes), horizons)
        quantiles = symmetric_quantiles(scale[..., None] * upper).swapaxes(0, 1)
        median = across_horizons(self.horizons, np.stack(medians), horizons).T
        error = across_horizons(self.horizons, np.stack(errors), horizons).T
        factor = across_horizons(self.horizons, np.stack(factors), horizons).T
        volatility = np.exp(median) * factor
        if self.agreeing:
            volatility = agreeing_volatility(volatility, quantiles, horizons)
        return quantiles, volatility, median, error

    def _members(self, coins: Sequence[ModelInput], inputs: Sequence[Inputs]) -> list[Floats]:
        """Return the members' log scales at each anchor, (n, M) each."""
        found = [anchor.scales.forecast(inputs, self.spec) for anchor in self.anchors]
        if self.rnn is None:
            return found
        rnn = self.rnn.forecast(np.stack([c.window for c in coins]), self.spec)
        at = [self.rnn.anchors.index(h) for h in self.horizons]
        return [with_rnn(members, rnn[:, j]) for members, j in zip(found, at, strict=True)]

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        """Return the SHAP values of the trees on log volatility at the nearest anchor."""
        checked_horizons((horizon,), self.max_horizon_days)
        anchor = min(self.anchors, key=lambda a: abs(np.log(a.scales.horizon / horizon)))
        booster = anchor.scales.boosters["boosted"]
        with self._explaining:  # LightGBM's contributions are not safe from two threads at once
            parts = booster.predict(prepared.row[None], pred_contrib=True, num_threads=1)
        moved = np.asarray(parts)[0, :-1]
        order = np.argsort(-np.abs(moved), kind="stable")[:top]
        return [
            Attribution(self.spec.names[i], float(prepared.row[i]), float(moved[i]), "volatility", horizon)
            for i in order
        ]

    def save(self, folder: Path) -> None:
        """Write one JSON file, a text file for each booster, and the files of the recurrent member."""
        plain: dict[str, Any] = {
            "features": list(self.spec.names),
            "members": list(self.members),
            "levels": LEVELS.tolist(),
            "agreeing": self.agreeing,
            "anchors": [
                {
                    "scales": a.scales.to_json(),
                    "pool": a.pool.to_json(),
                    **({HOURS: {s: m.to_json() for s, m in sorted(a.hours.items())}} if a.hours else {}),
                }
                for a in self.anchors
            ],
        }
        if self.reads_hours:
            plain[HOURS] = list(TERMS)
        if self.level:
            plain["level"] = level_to_json(self.level)
        (folder / "ensemble.json").write_text(json.dumps(plain), encoding="utf-8")
        if self.rnn is not None:
            self.rnn.save(folder)
        for anchor in self.anchors:
            for name, booster in anchor.scales.boosters.items():
                path = folder / _booster_file(name, anchor.scales.horizon)
                path.write_text(booster.model_to_string(), encoding="utf-8")
            for source, member in anchor.hours.items():
                path = folder / _booster_file(f"{HOURS}_{source}", anchor.scales.horizon)
                path.write_text(member.scale.trees.model_to_string(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """Read the files of `save`. Raises ValueError for other members, levels or measures of hours."""
        from lightgbm import Booster  # noqa: PLC0415 - slow to import, and only this model needs it

        plain = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        members = tuple(plain["members"])
        if members not in (MEMBERS, (*MEMBERS, RNN)) or plain["levels"] != LEVELS.tolist():
            raise ValueError(
                "this ensemble was written with other members or quantile levels; train it again"
            )
        if tuple(plain.get(HOURS, TERMS)) != TERMS:
            raise ValueError("this ensemble reads other measures of hours than this build; train it again")
        anchors = []

        def booster(name: str, horizon: int) -> Booster:
            return Booster(model_str=(folder / _booster_file(name, horizon)).read_text(encoding="utf-8"))

        for part in plain["anchors"]:
            horizon = int(part["scales"]["horizon"])
            boosters = {name: booster(name, horizon) for name in BOOSTERS}
            hours = {
                source: HoursMember.from_json(own, booster(f"{HOURS}_{source}", horizon))
                for source, own in part.get(HOURS, {}).items()
            }
            pool = Pool.from_json(part["pool"])
            anchors.append(Anchor(Scales.from_json(part["scales"], boosters), pool, hours))
        rnn = RnnMember.load(folder) if RNN in members else None
        return cls(
            anchors,
            FeatureSpec(tuple(plain["features"])),
            rnn=rnn,
            version=version,
            agreeing=bool(plain.get("agreeing", False)),
            level=level_from_json(plain.get("level", {})),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Pooled:
    """The output of a pool at one horizon: log_scale (n,), sizes (n, L), outlook, factor and error (n,).

    The outlook is the median of log realised volatility; see Pool for its factor and error.
    """

    log_scale: Floats
    sizes: Floats
    outlook: Floats
    factor: Floats
    error: Floats

    def replace(self, at: Sequence[int], other: _Pooled) -> None:
        """Replace the rows at the positions `at` by those of another pool."""
        for name in self.__slots__:
            getattr(self, name)[at] = getattr(other, name)


def _pooled(anchor: Anchor, members: Floats, now: Inputs) -> _Pooled:
    """Pool the log scales (n, M) of the daily members."""
    pool, rows = anchor.pool, np.ones(len(members))
    return _Pooled(
        log_scale=pool.log_scale(members, now.regime),
        sizes=pool.sizes_of(now),
        outlook=pool.outlook(members),
        factor=rows * pool.outlook_factor,
        error=rows * pool.outlook_error,
    )


def _with_hours(hours: HoursMember, members: Floats, daily: Floats, own: Floats, now: Inputs) -> _Pooled:
    """Pool the scale of the daily pool (n,) with that of the hours member (n,)."""
    pool, rows = hours.pool, np.ones(len(members))
    return _Pooled(
        log_scale=pool.log_scale(np.column_stack([daily, own]), now.regime),
        sizes=pool.sizes_of(now),
        outlook=hours_outlook(members, own) + pool.outlook_offset,
        factor=rows * pool.outlook_factor,
        error=rows * pool.outlook_error,
    )


def _booster_file(name: str, horizon: int) -> str:
    return f"{name}_{horizon}.txt"
