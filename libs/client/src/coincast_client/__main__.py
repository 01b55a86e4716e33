"""`python -m coincast_client` is the `coincast` command."""

from coincast_client.cli import app

app()
