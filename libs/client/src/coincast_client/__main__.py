"""`python -m coincast_client` runs the `coincast` command."""

from __future__ import annotations

from coincast_client.cli import app

app()
