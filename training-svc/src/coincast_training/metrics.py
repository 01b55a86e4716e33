"""Prometheus metrics of the training service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from coincast_training.domain import Job

JOB_SECONDS = Histogram(
    "coincast_training_job_seconds",
    "Duration of jobs.",
    ["model", "outcome"],
    buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800),
)
JOBS = Counter("coincast_training_jobs_total", "Jobs that ended.", ["model", "outcome"])
QUEUED = Gauge("coincast_training_jobs_queued", "Jobs that wait in the queue.")
RUNNING = Gauge("coincast_training_jobs_running", "Jobs that are running.")
LAST_SUCCESS = Gauge(
    "coincast_training_last_success_timestamp_seconds", "Time at which a job last succeeded.", ["model"]
)
ARTIFACT_AGE = Gauge(
    "coincast_training_artifact_age_seconds", "Age of the version that has the alias.", ["model", "alias"]
)
LIVE_SKILL = Gauge(
    "coincast_training_live_skill_percent",
    "CRPS skill of served forecasts against the random walk; absent below 100 forecasts or 20 days.",
    ["model", "horizon_days"],
)
LIVE_COVERAGE = Gauge(
    "coincast_training_live_coverage_percent",
    "Share of outcomes inside the served interval, in percent; absent below 100 forecasts or 20 days.",
    ["model", "horizon_days", "level_percent"],
)
LIVE_COVERAGE_ERROR = Gauge(
    "coincast_training_live_coverage_error_percent",
    "Standard error of the coverage, in percentage points. All coins of one day count as one observation.",
    ["model", "horizon_days", "level_percent"],
)
DRIFT_SCORE = Gauge(
    "coincast_training_drift_score",
    "Drift divided by its limit: 1 and above means drift.",
    ["model", "check"],
)
DRIFTED = Gauge("coincast_training_drifted", "1 if a model has drifted, else 0.", ["model"])
LEDGER_STORED = Counter("coincast_training_ledger_stored_total", "Ledger entries written to disk.")
LEDGER_SCORED = Counter(
    "coincast_training_ledger_scored_total", "Ledger entries scored after their horizon ended."
)
LEDGER_REFUSED = Counter("coincast_training_ledger_refused_total", "Ledger entries that could not be read.")
LEDGER_LAG = Gauge(
    "coincast_training_ledger_lag_entries", "Ledger entries in the Redis stream that are not on disk yet."
)
LEDGER_LAG_SECONDS = Gauge(
    "coincast_training_ledger_lag_seconds",
    "Age of the oldest ledger entry that is not on disk yet; 0 without such an entry.",
)
RISK_STORED = Counter(
    "coincast_training_risk_statements_stored_total", "Served risk statements written to disk."
)
RISK_SCORED = Counter(
    "coincast_training_risk_chances_scored_total",
    "Probabilities of served risk statements scored after their day.",
)
RISK_DROPPED = Counter(
    "coincast_training_risk_statements_dropped_total",
    "Served risk statements that were not stored, by reason: unreadable or day_full.",
    ["reason"],
)
RISK_LAG = Gauge(
    "coincast_training_risk_lag_entries", "Served risk statements in the stream that are not on disk yet."
)
RISK_LAG_SECONDS = Gauge(
    "coincast_training_risk_lag_seconds",
    "Age of the oldest served risk statement that is not on disk yet; 0 where none waits.",
)


def observe_end(job: Job) -> None:
    """Count a job that has ended, and record its duration and success."""
    model, outcome = job.spec.model, job.state.value
    JOBS.labels(model, outcome).inc()
    if job.started_at is not None and job.finished_at is not None:
        JOB_SECONDS.labels(model, outcome).observe(job.finished_at - job.started_at)
    if job.version and job.finished_at is not None:
        LAST_SUCCESS.labels(model).set(job.finished_at)
