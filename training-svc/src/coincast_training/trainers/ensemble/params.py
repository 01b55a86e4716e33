"""Parameters of the recipe of the ensemble, and their validation before the training starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from coincast_modelkit.forecasts import MAX_HORIZON_DAYS
from coincast_training.trainers.ensemble.hours_params import HoursParams
from coincast_training.trainers.ensemble.members import TreeParams
from coincast_training.trainers.ensemble.pooling import PoolParams
from coincast_training.trainers.ensemble.rnn_params import RnnParams, switch_mapping

MIN_FOLD_DAYS = 7
PARTS: dict[str, Any] = {"trees": TreeParams, "pool": PoolParams, "lstm": RnnParams, "hours": HoursParams}


@dataclass(frozen=True, slots=True)
class EnsembleParams:
    """Parameters of the ensemble.

    Attributes:
        anchors: Horizons in days at which members are fitted.
        fold_days: Days between refits of the walk-forward.
        ridge: Penalty of the ridge regressions.
        trees: Parameters of the trees.
        pool: Parameters of the pool.
        lstm: Parameters of the recurrent member.
        hours: Parameters of the hours member.
    """

    anchors: tuple[int, ...] = (1, 3, 7, 14, 30)
    fold_days: int = 60
    ridge: float = 30.0
    trees: TreeParams = field(default_factory=TreeParams)
    pool: PoolParams = field(default_factory=PoolParams)
    lstm: RnnParams = field(default_factory=RnnParams)
    hours: HoursParams = field(default_factory=HoursParams)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> EnsembleParams:
        """Read the parameters from a mapping as in a YAML file.

        Raises:
            ValueError: A parameter is unknown or out of range; the message names it.
        """
        given = dict(plain)
        for name in ("lstm", "hours"):
            if name in given:
                given[name] = switch_mapping(given[name])
        _refuse_unknown(cls, "", given)
        for name, kind in PARTS.items():
            _refuse_unknown(kind, f"{name}.", given.get(name))
        try:
            params = TypeAdapter(cls).validate_python(given)
            params.lstm.recipe(params.anchors if _within(params.anchors) else (1,))
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()
            ]
            raise ValueError(f"ml_ensemble parameters: {'; '.join(faults)}") from error
        if faults := params._faults():
            raise ValueError(f"ml_ensemble parameters: {'; '.join(faults)}")
        return params

    def _faults(self) -> list[str]:
        found = [*self.lstm.faults(), *self.hours.faults()]
        if not _within(self.anchors):
            found.append(f"anchors: must be 1 to {MAX_HORIZON_DAYS} days, got {list(self.anchors)}")
        if self.fold_days < MIN_FOLD_DAYS:
            found.append(f"fold_days: must be at least {MIN_FOLD_DAYS}, got {self.fold_days}")
        return found


def _within(anchors: tuple[int, ...]) -> bool:
    return bool(anchors) and min(anchors) >= 1 and max(anchors) <= MAX_HORIZON_DAYS


def _refuse_unknown(kind: Any, where: str, part: Any) -> None:
    known = [f.name for f in fields(kind)]
    if isinstance(part, Mapping) and (unknown := sorted(set(part) - set(known))):
        raise ValueError(f"ml_ensemble parameters: {where}{unknown[0]} is not one of {', '.join(known)}")
