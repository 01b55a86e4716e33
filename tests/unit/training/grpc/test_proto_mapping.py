"""What goes over the wire comes back as it was, and no field is forgotten in silence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast.training.v1 import training_pb2 as pb
from coincast_modelkit.artifact import HorizonRecord
from coincast_training.domain import AuditEntry, Job, JobState, TrainingSpec
from coincast_training.grpc import proto_mapping

TIMES = st.integers(0, 2**31).map(lambda n: n / 2)
WORDS = st.text(max_size=20)
SPECS = st.builds(
    TrainingSpec,
    model=WORDS,
    ids=st.lists(WORDS, max_size=3).map(tuple),
    days=st.integers(0, 10_000),
    tune_trials=st.integers(0, 200),
    promote_if_better=st.booleans(),
    from_version=WORDS,
)
JOBS = st.builds(
    Job,
    job_id=WORDS,
    spec=SPECS,
    state=st.sampled_from(JobState),
    submitted_at=TIMES,
    requested_by=WORDS,
    progress=st.floats(0, 1),
    started_at=st.none() | TIMES,
    finished_at=st.none() | TIMES,
    remaining_seconds=st.none() | st.floats(0, 1e6),
    attempt=st.integers(0, 9),
)


@given(JOBS)
def test_a_job_comes_back_as_it_was(job: Job) -> None:
    message = pb.Job.FromString(proto_mapping.job_to_pb(job).SerializeToString())
    assert proto_mapping.job_from_pb(message) == job
    assert message.HasField("started_at") == (job.started_at is not None)


def test_every_state_has_its_word() -> None:
    assert len(proto_mapping.STATES) == len(JobState) == len(set(proto_mapping.STATES.values()))
    assert proto_mapping.STATES[JobState.CANCELLED] == pb.JOB_STATE_CANCELLED


def test_what_could_not_be_measured_stays_absent() -> None:
    horizon = proto_mapping.horizon_to_pb(HorizonRecord(7, 100, mase=0.0, random_walk_mase=1.0))
    assert (horizon.HasField("mase"), horizon.HasField("skill_percent")) == (True, False)


def test_a_scaled_error_without_its_scale_is_absent() -> None:
    horizon = proto_mapping.horizon_to_pb(HorizonRecord(7, 100, mase=14.5, mape_percent=3.0))
    assert not horizon.HasField("mase")
    assert not horizon.HasField("random_walk_mase")
    assert horizon.mape_percent == 3.0


def test_an_audit_entry_keeps_its_revision_and_its_force() -> None:
    entry = AuditEntry(1.5, "who", "lightgbm", "promote", "production", "v1", "v2", "why", 3, forced=True)
    message = proto_mapping.audit_to_pb(entry)
    assert proto_mapping.from_pb(AuditEntry, message) == entry
    assert proto_mapping.from_pb(AuditEntry, proto_mapping.audit_to_pb(replace(entry, at=2.0))).at == 2.0


def test_a_field_that_nothing_fills_is_an_error() -> None:
    with pytest.raises(AttributeError, match="version_a"):
        proto_mapping.to_pb(pb.CompareVersionsRequest, TrainingSpec("lightgbm", ()))
