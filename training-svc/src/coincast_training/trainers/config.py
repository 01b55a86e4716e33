"""Read the recipe of a model from its YAML file, and validate every field before the training starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from coincast_chassis.observability.error_text import without_path
from coincast_training.trainers.lightgbm.params import LightgbmParams
from coincast_training.trainers.lstm.params import LstmParams
from coincast_training.trainers.params import read_params

_HERE = Path(__file__).resolve()
# The folder is next to the package in an image, and in the root of the service in a checkout.
_FOLDERS = (_HERE.parents[1] / "configs", _HERE.parents[3] / "configs")


def default_folder() -> Path:
    """Return the folder of the built-in recipes."""
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])


def read_config(folder: Path, model: str) -> dict[str, Any]:
    """Return the recipe in `folder/<model>.yaml`; empty if there is no such file, which means the defaults.

    Raises:
        ValueError: The file is wrong; the message names the file, the field and the fix.
    """
    path = folder / f"{model}.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name} cannot be read: {without_path(error)}") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ValueError(f"{path.name} must have names and values, as in `folds: 4`")  # noqa: TRY004 - bad data
    try:
        check(model, raw)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return raw


def check(model: str, parameters: Mapping[str, Any]) -> None:
    """Check the recipe of a model.

    Raises:
        ValueError: A parameter is wrong; the message names each.
    """
    if model == "lightgbm":
        read_params(LightgbmParams, parameters, model=model)
    elif model == "lstm":
        read_params(LstmParams, parameters, model=model)
    elif model == "ml_ensemble":
        from coincast_training.trainers.ensemble.params import EnsembleParams  # noqa: PLC0415 - imports LightGBM

        EnsembleParams.of(parameters)
    else:
        raise ValueError(f"there is no recipe for {model!r}")
