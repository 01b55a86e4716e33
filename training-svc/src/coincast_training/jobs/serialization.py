"""Convert jobs and specs to JSON and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from coincast_training.domain import Job, JobState, TrainingSpec


def spec_to_dict(spec: TrainingSpec) -> dict[str, Any]:
    """Convert a spec to values for JSON."""
    return asdict(spec) | {"ids": list(spec.ids)}


def spec_from_dict(values: dict[str, Any]) -> TrainingSpec:
    """Convert the output of `spec_to_dict` back to a spec."""
    return TrainingSpec(**(values | {"ids": tuple(values["ids"])}))


def job_to_dict(job: Job) -> dict[str, Any]:
    """Convert a job to values for JSON."""
    return asdict(job) | {"spec": spec_to_dict(job.spec), "state": job.state.value}


def job_to_json(job: Job) -> str:
    """Convert a job to one line of JSON."""
    return json.dumps(job_to_dict(job))


def job_from_json(text: str | bytes) -> Job:
    """Convert the output of `job_to_json` back to a job."""
    values = json.loads(text)
    return Job(**(values | {"spec": spec_from_dict(values["spec"]), "state": JobState(values["state"])}))
