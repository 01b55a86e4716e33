"""Parameters of the LightGBM recipe, and their validation before the training starts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from coincast_training.trainers.params import WalkParams


class TreeParams(BaseModel):
    """LightGBM parameters of one head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(0.05, gt=0, le=1)
    num_leaves: int = Field(15, ge=2, le=255)
    min_data_in_leaf: int = Field(60, ge=5)
    feature_fraction: float = Field(0.4, gt=0, le=1)
    bagging_fraction: float = Field(0.7, gt=0, le=1)
    lambda_l2: float = Field(10.0, ge=0)
    max_bin: int = Field(63, ge=15, le=255)
    rounds: int = Field(150, ge=1, le=5000)
    early_stopping_rounds: int = Field(20, ge=1)


class LightgbmParams(WalkParams):
    """Parameters of the recipe: trees of the volatility head and of the mean head."""

    volatility: TreeParams = TreeParams()
    mean: TreeParams = TreeParams(
        num_leaves=7, rounds=60, learning_rate=0.03, min_data_in_leaf=200, lambda_l2=50
    )
