"""The training pipeline: fetch history, tune, fit, measure, write a version, promote it."""
