"""The model registry: versions, aliases, promotion gate and audit log."""
