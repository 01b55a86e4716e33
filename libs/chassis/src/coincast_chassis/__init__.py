"""How a Coincast service runs: settings, logs, metrics, health, gRPC, errors, shutdown."""
