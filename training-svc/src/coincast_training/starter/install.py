"""Install the shipped starter version of each model that has no production version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.error_text import without_path
from coincast_modelkit.artifact import (
    ArtifactError,
    Manifest,
    read_manifest,
    version_folder,
    write_artifact,
)
from coincast_modelkit.artifact.read import verified_files
from coincast_training.registry.registry import Registry

log = structlog.get_logger(__name__)
STARTER_DIR = Path(__file__).parent / "models"
STARTER_MODELS = ("lightgbm", "ml_ensemble")
STARTER_VERSION = "v000001"
REQUESTED_BY = "starter"


def install_starters(
    registry: Registry, models: Sequence[str] = STARTER_MODELS, *, shipped: Path = STARTER_DIR
) -> list[str]:
    """Install a starter version for each model without a production version, and promote it.

    A starter that cannot be installed is logged and skipped; the first training then provides a version.

    Args:
        registry: Registry that gets the versions; they are signed with its key.
        models: The models to consider.
        shipped: The folder of the shipped artifacts.

    Returns:
        The models whose starter version was installed.
    """
    installed = []
    for model in models:
        try:
            if not registry.table(model).production and (version := _install(registry, model, shipped)):
                installed.append(model)
                log.info("starter_installed", model=model, version=version)
        except (ArtifactError, CoincastError, OSError) as error:
            log.warning("starter_not_installed", model=model, reason=without_path(error))
    return installed


def _install(registry: Registry, model: str, shipped: Path) -> str:
    """Copy the starter of a model as its next version and promote it; "" if the package has none."""
    if not (shipped / model / STARTER_VERSION).is_dir():
        return ""
    version = _installed_before(registry, model)
    if not version:
        manifest, _ = read_manifest(shipped, model, STARTER_VERSION)
        files = verified_files(version_folder(shipped, model, STARTER_VERSION), manifest)

        def save(folder: Path) -> None:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

        version = write_artifact(registry.root, replace(manifest, version=""), save, key=registry.key)
    registry.promote(
        model,
        version,
        expected_revision=registry.table(model).revision,
        force=True,
        reason=f"The starter version of {model}, which shipped trained: no version was in production.",
        requested_by=REQUESTED_BY,
    )
    return version


def _installed_before(registry: Registry, model: str) -> str:
    """Return a starter that an interrupted start wrote but did not promote; "" if there is none."""
    for name in reversed(registry.versions.names(model)):
        try:
            manifest, _ = registry.versions.manifest(model, name)
        except CoincastError:
            continue
        if is_starter(manifest):
            return name
    return ""


def is_starter(manifest: Manifest) -> bool:
    """Return whether a version was shipped with the package."""
    return "starter" in manifest.metrics
