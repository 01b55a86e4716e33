"""One training run: history, fit, record, artifact, promotion."""
