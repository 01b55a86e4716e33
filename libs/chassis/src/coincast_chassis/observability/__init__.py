"""Logs, metrics, traces and error reports, with secrets redacted."""
