"""Compute the alias table after a change, and write it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coincast_modelkit.artifact import Aliases, aliases_path
from coincast_modelkit.durable_files import replace_file


def with_alias(table: Aliases, alias: str, version: str, share: float) -> Aliases:
    """Return the table after an alias is set to a version.

    A version that becomes production is no longer challenger or shadow.
    """
    after = replace(table, revision=table.revision + 1)
    if alias == "production":
        after = replace(after, production=version)
        if after.challenger == version:
            after = replace(after, challenger="", challenger_share=0.0)
        return replace(after, shadow="") if after.shadow == version else after
    if alias == "challenger":
        return replace(after, challenger=version, challenger_share=share if version else 0.0)
    return replace(after, shadow=version)


def write_aliases(root: Path, model: str, table: Aliases) -> None:
    """Replace the alias table atomically; the caller must hold the lock of the registry."""
    replace_file(aliases_path(root, model), table.to_bytes())
