"""Validate job specs; every error message names the field and the fix."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from coincast_chassis.errors import InvalidInput
from coincast_training.domain import TRAINED_MODELS, TrainingSpec

COIN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
VERSION = re.compile(r"v\d{6}")


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Limits of the values of a job."""

    max_coins: int = 250
    min_days: int = 90
    max_days: int = 10_000
    max_trials: int = 200


def validate_spec(spec: TrainingSpec, limits: JobLimits) -> TrainingSpec:
    """Return the spec with ids in lower case and without duplicates.

    Raises:
        InvalidInput: A field is wrong.
    """
    _check_model(spec.model)
    if spec.from_version:
        return _check_lineage(spec)
    ids = tuple(dict.fromkeys(coin_id.strip().lower() for coin_id in spec.ids))
    _check_ids(ids, limits)
    if spec.days and not limits.min_days <= spec.days <= limits.max_days:
        raise InvalidInput(
            f"days must be {limits.min_days} to {limits.max_days}, or 0 for all; it is {spec.days}.",
            field="days",
        )
    if not 0 <= spec.tune_trials <= limits.max_trials:
        raise InvalidInput(
            f"tune_trials must be 0 to {limits.max_trials}; it is {spec.tune_trials}.", field="tune_trials"
        )
    return replace(spec, ids=ids)


def _check_lineage(spec: TrainingSpec) -> TrainingSpec:
    if not VERSION.fullmatch(spec.from_version):
        raise InvalidInput(
            f"from_version must look like v000001; it is {spec.from_version!r}.", field="from_version"
        )
    if spec.tune_trials:
        raise InvalidInput(
            "tune_trials must be 0 with from_version, since the parameters of that version are repeated.",
            field="tune_trials",
        )
    return replace(spec, ids=tuple(spec.ids))


def _check_model(model: str) -> None:
    if model not in TRAINED_MODELS:
        raise InvalidInput(
            f"model must be one of {', '.join(TRAINED_MODELS)}; it is {model!r}.", field="model"
        )


def _check_ids(ids: tuple[str, ...], limits: JobLimits) -> None:
    if not ids:
        raise InvalidInput("ids must have at least one coin, for example bitcoin.", field="ids")
    if len(ids) > limits.max_coins:
        raise InvalidInput(f"ids may have at most {limits.max_coins} coins; it has {len(ids)}.", field="ids")
    for coin_id in ids:
        if not COIN_ID.fullmatch(coin_id):
            raise InvalidInput(
                f"{coin_id!r} is not a CoinGecko id; ids are lower case, like bitcoin or matic-network.",
                field="ids",
            )
