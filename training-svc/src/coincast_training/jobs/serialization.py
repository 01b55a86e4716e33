"""Convert jobs and specs to JSON and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from coincast_training.domain import Job, JobState, TrainingSpec


def spec_to_dict(spec: TrainingSpec) -> dict[str, Any]:
    """Return a spec as plain values."""
    return asdict(spec) | {"ids": list(spec.ids)}


def spec_from_dict(values: dict[str, Any]) -> TrainingSpec:
    """Return the spec that `spec_to_dict` wrote."""
    return TrainingSpec(**(values | {"ids": tuple(values["ids"])}))


def job_to_dict(job: Job) -> dict[str, Any]:
    """Return a job as plain values."""
    return asdict(job) | {"spec": spec_to_dict(job.spec), "state": job.state.value}


def job_to_json(job: Job) -> str:
    """Return a job as one line of JSON."""
    return json.dumps(job_to_dict(job))


def job_from_json(text: str | bytes) -> Job:
    """Return the job that `job_to_json` wrote."""
    values = json.loads(text)
    return Job(**(values | {"spec": spec_from_dict(values["spec"]), "state": JobState(values["state"])}))
