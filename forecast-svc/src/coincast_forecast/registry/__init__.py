"""Model versions: loading, verification, deployment and selection."""
