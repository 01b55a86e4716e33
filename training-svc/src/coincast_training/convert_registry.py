"""Protobuf to domain and back, for the registry."""

from __future__ import annotations

from coincast.forecast.v1 import forecast_pb2
from coincast.training.v1 import training_pb2 as pb
from coincast_modelkit.artifact import Aliases, HorizonRecord, Record
from coincast_training.convert import seconds, timestamp
from coincast_training.domain import AuditEntry
from coincast_training.registry.paired import PairedTest
from coincast_training.registry.registry import Comparison, aliases_of
from coincast_training.registry.versions import Version


def horizon_to_pb(horizon: HorizonRecord) -> forecast_pb2.HorizonRecord:
    """One horizon; what could not be said stays absent."""
    return forecast_pb2.HorizonRecord(
        horizon_days=horizon.horizon_days,
        forecasts=horizon.forecasts,
        mase=horizon.mase,
        mape_percent=horizon.mape_percent,
        random_walk_mape_percent=horizon.random_walk_mape_percent,
        skill_percent=horizon.skill_percent,
        crps_skill_percent=horizon.crps_skill_percent,
        coverage_80_percent=horizon.coverage_80_percent,
        coverage_95_percent=horizon.coverage_95_percent,
    )


def record_to_pb(record: Record) -> forecast_pb2.Record:
    """A version's record."""
    return forecast_pb2.Record(
        measured_at=timestamp(record.measured_at),
        test_coins=", ".join(record.test_coins),
        test_from_date=record.test_from,
        test_to_date=record.test_to,
        horizons=[horizon_to_pb(horizon) for horizon in record.horizons],
    )


def version_to_pb(version: Version, table: Aliases) -> pb.ModelVersion:
    """A version and the aliases that name it."""
    return pb.ModelVersion(
        model=version.model,
        version=version.version,
        created_at=timestamp(version.created_at),
        aliases=aliases_of(table, version.version),
        retired=version.retired,
        signed=version.signed,
        coins=version.coins,
        data_from_date=version.data_from_date,
        data_to_date=version.data_to_date,
        data_hash=version.data_hash,
        code_version=version.code_version,
        parent_version=version.parent_version,
        record=record_to_pb(version.record),
        size_bytes=version.size_bytes,
    )


def table_to_pb(model: str, table: Aliases) -> pb.AliasTable:
    """The aliases of one model."""
    return pb.AliasTable(
        model=model,
        revision=table.revision,
        production_version=table.production,
        challenger_version=table.challenger,
        challenger_share=table.challenger_share,
        shadow_version=table.shadow,
    )


def paired_test_to_pb(test: PairedTest) -> pb.PairedTest:
    """One paired test."""
    return pb.PairedTest(
        horizon_days=test.horizon_days,
        loss=test.loss,
        forecasts=test.forecasts,
        mean_loss_a=test.mean_loss_a,
        mean_loss_b=test.mean_loss_b,
        statistic=test.statistic,
        p_value=test.p_value,
    )


def comparison_to_pb(comparison: Comparison, table: Aliases) -> pb.CompareVersionsResponse:
    """Two versions side by side."""
    return pb.CompareVersionsResponse(
        a=version_to_pb(comparison.a, table),
        b=version_to_pb(comparison.b, table),
        tests=[paired_test_to_pb(test) for test in comparison.tests],
        verdict=comparison.verdict,
    )


def audit_to_pb(entry: AuditEntry) -> pb.AuditEntry:
    """One line of the audit log."""
    return pb.AuditEntry(
        at=timestamp(entry.at),
        requested_by=entry.requested_by,
        model=entry.model,
        action=entry.action,
        alias=entry.alias,
        from_version=entry.from_version,
        to_version=entry.to_version,
        reason=entry.reason,
        revision=entry.revision,
        forced=entry.forced,
    )


def audit_from_pb(entry: pb.AuditEntry) -> AuditEntry:
    """A line of the audit log that another process told of."""
    return AuditEntry(
        at=seconds(entry.at),
        requested_by=entry.requested_by,
        model=entry.model,
        action=entry.action,
        alias=entry.alias,
        from_version=entry.from_version,
        to_version=entry.to_version,
        reason=entry.reason,
        revision=entry.revision,
        forced=entry.forced,
    )
