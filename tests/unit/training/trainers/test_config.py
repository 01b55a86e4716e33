"""Recipes in YAML: those that are shipped are whole, wrong ones are named by file and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from coincast_training.trainers.config import default_folder, read_config
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.lightgbm.params import LightgbmParams
from coincast_training.trainers.lstm.params import LstmParams

MODELS = ["lightgbm", "lstm", "ml_ensemble"]


def test_there_is_a_recipe_for_every_model() -> None:
    assert {p.stem for p in default_folder().glob("*.yaml")} == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_shipped_recipes_are_right(model: str) -> None:
    assert read_config(default_folder(), model)


def test_shipped_recipes_are_the_built_in_ones() -> None:
    """Whoever has no file gets the same model."""
    folder = default_folder()
    assert LightgbmParams.model_validate(read_config(folder, "lightgbm")) == LightgbmParams()
    assert LstmParams.model_validate(read_config(folder, "lstm")) == LstmParams()
    assert EnsembleParams.of(read_config(folder, "ml_ensemble")) == EnsembleParams()


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        ("lightgbm", "folds: none", r"lightgbm.yaml: lightgbm parameters: folds: .*integer.*got 'none'"),
        ("lightgbm", "volatility: {num_leafs: 3}", r"volatility.num_leafs is not a parameter"),
        ("lightgbm", "anchors: [7, 1]", r"anchors: .*increasing days from 1 to 30"),
        ("lightgbm", "anchors: [1, 7]\nmean_anchors: [3]", r"mean_anchors must be among anchors"),
        ("lstm", "inputs: [magic]", r"inputs: .*magic"),
        ("lstm", "dropout: 1.5\nunits: 0", r"units: .*got 0.*dropout: .*got 1.5|dropout: .*got 1.5"),
        ("ml_ensemble", "fold_days: 1", r"fold_days.*at least 7"),
        ("ml_ensemble", "colour: red", r"colour"),
        ("ml_ensemble", "lstm: {prior: 2}", r"lstm.prior: must be 0 to 0.5, got 2"),
        ("lstm", "- a", r"must have names and values"),
        ("lstm", "a: [", r"cannot be read"),
    ],
)
def test_wrong_recipes_are_named(tmp_path: Path, model: str, text: str, message: str) -> None:
    (tmp_path / f"{model}.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path, model)


def test_no_file_and_an_empty_file_mean_the_built_in_recipe(tmp_path: Path) -> None:
    assert read_config(tmp_path, "lightgbm") == {}
    (tmp_path / "lightgbm.yaml").write_text("# nothing\n")
    assert read_config(tmp_path, "lightgbm") == {}
    with pytest.raises(ValueError, match="no recipe"):
        (tmp_path / "x.yaml").write_text("a: 1")
        read_config(tmp_path, "x")
