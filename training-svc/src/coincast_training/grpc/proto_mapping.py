"""Map protobuf messages to domain types and back.

Fields of the same name are copied; each function below gives only the fields that differ.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from coincast.forecast.v1 import forecast_pb2
from coincast.training.v1 import training_pb2 as pb
from coincast_modelkit.artifact import Aliases, HorizonRecord, Record
from coincast_modelkit.ledger import close_of
from coincast_modelkit.scenarios.live_record import LiveRiskRecord
from coincast_training.domain import AuditEntry, Job, JobState, TrainingSpec
from coincast_training.drift.monitor import DriftCheck
from coincast_training.registry.paired_tests import PairedTest
from coincast_training.registry.registry import Comparison, aliases_of
from coincast_training.registry.versions import Version

if TYPE_CHECKING:
    from coincast_training.scoring.ab_tests import VariantTest
    from coincast_training.scoring.accuracy import Live

M = TypeVar("M", bound=Message)
V = TypeVar("V")
STATES = {state: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
FROM_STATES = {number: state for state, number in STATES.items()}


def timestamp(seconds: float | None) -> Timestamp | None:
    """Convert UNIX seconds to a Timestamp; None stays None."""
    if seconds is None:
        return None
    whole = int(seconds // 1)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))


def seconds_of(stamp: Timestamp) -> float:
    """Convert a Timestamp to UNIX seconds."""
    return stamp.seconds + stamp.nanos / 1e9


def to_pb(kind: type[M], value: object, **over: Any) -> M:
    """Convert a value to a message, by copying attributes to the fields of the same name.

    Args:
        kind: Type of the message.
        value: Source of the fields.
        over: Fields that differ from the attributes of `value`. A field with None stays absent.

    Raises:
        AttributeError: A field is neither in `value` nor in `over`. The error ensures that no field is
            forgotten.
    """
    message: Any = kind
    return kind(**{field.name: _out(field, value, over) for field in message.DESCRIPTOR.fields})


def _out(field: Any, value: object, over: dict[str, Any]) -> Any:
    found = over[field.name] if field.name in over else getattr(value, field.name)
    return timestamp(found) if _is_time(field) and isinstance(found, float | int) else found


def from_pb(kind: type[V], message: Message, **over: Any) -> V:
    """Convert a message to a dataclass by copying fields of the same name; `over` gives the others."""
    make: Any = kind
    return make(**dict(_in(kind, message)) | over)  # type: ignore[no-any-return]  # `kind` creates a V


def _in(kind: Any, message: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of the dataclass from the message; an absent field keeps the default."""
    for attribute in fields(kind):
        field = message.DESCRIPTOR.fields_by_name.get(attribute.name)
        if field is None or (field.has_presence and not message.HasField(field.name)):
            if attribute.default is MISSING:
                yield attribute.name, None
        elif _is_time(field):
            yield field.name, seconds_of(getattr(message, field.name))
        else:
            found = getattr(message, field.name)
            yield field.name, tuple(found) if field.is_repeated else found


def _is_time(field: Any) -> bool:
    return field.message_type is not None and field.message_type.full_name == Timestamp.DESCRIPTOR.full_name


def spec_to_pb(spec: TrainingSpec) -> pb.TrainingSpec:
    """Convert the spec of a job."""
    return to_pb(pb.TrainingSpec, spec)


def spec_from_pb(spec: pb.TrainingSpec) -> TrainingSpec:
    """Convert a requested spec, without validating it."""
    return from_pb(TrainingSpec, spec)


def job_to_pb(job: Job) -> pb.Job:
    """Convert a job."""
    return to_pb(pb.Job, job, spec=spec_to_pb(job.spec), state=STATES[job.state])


def job_from_pb(job: pb.Job) -> Job:
    """Convert a job from the message of another process."""
    return from_pb(Job, job, spec=spec_from_pb(job.spec), state=FROM_STATES[job.state])


def drift_to_pb(checked: DriftCheck) -> pb.DriftStatus:
    """Convert the latest drift check of a model, and the action that followed."""
    done = [f"Action: {checked.action}."] if checked.drift.drifted else []
    found = checked.drift
    return to_pb(pb.DriftStatus, checked, drifted=found.drifted, reasons=[*found.reasons, *done])


def horizon_to_pb(horizon: HorizonRecord) -> forecast_pb2.HorizonRecord:
    """Convert the record of one horizon; values that were not measured stay absent."""
    # Old records do not have these fields.
    added = {
        "horizon_hours": getattr(horizon, "horizon_hours", 0),
        "coverage_80_standard_error": getattr(horizon, "coverage_80_standard_error", None),
        "independent_periods": getattr(horizon, "independent_periods", None),
        "random_walk_mase": getattr(horizon, "random_walk_mase", None),
        "mase": getattr(horizon, "scaled_mase", None),
    }
    return to_pb(forecast_pb2.HorizonRecord, horizon, **added)


def record_to_pb(record: Record) -> forecast_pb2.Record:
    """Convert the record of a version."""
    return to_pb(
        forecast_pb2.Record,
        record,
        test_coins=", ".join(record.test_coins),
        test_from_date=record.test_from,
        test_to_date=record.test_to,
        horizons=map(horizon_to_pb, record.horizons),
    )


def version_to_pb(version: Version, table: Aliases) -> pb.ModelVersion:
    """Convert a version, with its aliases in the table."""
    aliases = aliases_of(table, version.version)
    return to_pb(pb.ModelVersion, version, aliases=aliases, record=record_to_pb(version.record))


def table_to_pb(model: str, table: Aliases) -> pb.AliasTable:
    """Convert the aliases of one model."""
    return to_pb(
        pb.AliasTable,
        table,
        model=model,
        production_version=table.production,
        challenger_version=table.challenger,
        shadow_version=table.shadow,
    )


def comparison_to_pb(comparison: Comparison, table: Aliases) -> pb.CompareVersionsResponse:
    """Convert the comparison of two versions."""
    return to_pb(
        pb.CompareVersionsResponse,
        comparison,
        a=version_to_pb(comparison.a, table),
        b=version_to_pb(comparison.b, table),
        tests=map(paired_test_to_pb, comparison.tests),
    )


def paired_test_to_pb(test: PairedTest) -> pb.PairedTest:
    """Convert one paired test."""
    return to_pb(pb.PairedTest, test)


def audit_to_pb(entry: AuditEntry) -> pb.AuditEntry:
    """Convert one entry of the audit log."""
    return to_pb(pb.AuditEntry, entry)


def live_to_pb(live: Live) -> pb.LiveRecord:
    """Convert the record of one group of served forecasts."""
    return to_pb(pb.LiveRecord, live, id=live.coin_id, horizon=horizon_to_pb(live.horizon))


def live_risk_to_pb(record: LiveRiskRecord) -> forecast_pb2.LiveRiskRecord:
    """Convert the record of one group of served risk answers."""
    return to_pb(forecast_pb2.LiveRiskRecord, record)


def variant_test_to_pb(test: VariantTest) -> pb.VariantTest:
    """Convert one sequential test of two versions."""
    found = test.result
    return to_pb(pb.VariantTest, test, pairs=found.pairs, e_value=found.e_value, better=found.better)


LOGGED_LEVELS_PERCENT = (50.0, 80.0, 95.0)


def logged_forecast_to_pb(row: Mapping[str, Any]) -> pb.LoggedForecast:
    """Convert a row of the forecast log; outcome and score stay absent until the horizon has closed."""
    probabilities, prices = row["probabilities"], row["price_quantiles"]

    def price_at(probability: float) -> float:
        return float(np.interp(probability, probabilities, prices))

    levels = [
        level
        for level in LOGGED_LEVELS_PERCENT
        if probabilities[0] <= 0.5 - level / 200 + 1e-9 and probabilities[-1] >= 0.5 + level / 200 - 1e-9
    ]
    as_of = close_of(row["as_of"]) + dt.timedelta(hours=row["as_of_hours"])
    closes_at = close_of(row["due"])
    if row["horizon_hours"]:
        closes_at = as_of + dt.timedelta(hours=row["horizon_hours"])
    return pb.LoggedForecast(
        forecast_id=row["forecast_id"],
        id=row["coin_id"],
        vs_currency=row["vs_currency"],
        model=row["model"],
        version=row["version"],
        variant=row["variant"],
        as_of=timestamp(as_of.timestamp()),
        served_at=timestamp(row["made_at"]),
        horizon_days=row["horizon_days"],
        horizon_hours=row["horizon_hours"],
        closes_at=timestamp(closes_at.timestamp()),
        last_price=row["last_price"],
        median=price_at(0.5),
        intervals=[
            forecast_pb2.Interval(
                level_percent=level, lower=price_at(0.5 - level / 200), upper=price_at(0.5 + level / 200)
            )
            for level in levels
        ],
        quantiles=[
            forecast_pb2.Quantile(probability=p, price=price)
            for p, price in zip(probabilities, prices, strict=True)
        ],
        outcome=row.get("actual"),
        crps=row.get("crps"),
        degraded=row["served_by"] != row["model"],
        served_by=row["served_by"],
    )
