"""Status of the running services: readiness, training jobs, the upstream."""
