"""What the running services report: readiness, training jobs, the upstream."""
