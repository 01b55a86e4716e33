"""Parameters of the LSTM recipe, and their validation before the training starts."""

from __future__ import annotations

from pydantic import Field, field_validator

from coincast_modelkit.features import WINDOW_DAYS
from coincast_modelkit.features.groups import FEATURES
from coincast_training.trainers.params import WalkParams

INPUTS = (
    "zret_1",
    "har_1",
    "har_3",
    "har_7",
    "har_30",
    "ewma_94",
    "close_location_1",
    "leverage_1",
    "downside_share_7",
    "jump_share_14",
    "volume_surprise_1_30",
    "drawdown_30",
    "leader_return_1",
    "leader_volatility_7",
    "market_volatility_7",
    "market_volatility_30",
    "market_dispersion_7",
    "volatility_against_market_7",
    "weekday_sin",
    "weekday_cos",
)


class LstmParams(WalkParams):
    """Parameters of the recipe.

    `samples` is the number of dropout masks of the served model. Training uses one in `stride_days` days.
    """

    folds: int = Field(3, ge=1, le=60)
    inputs: tuple[str, ...] = INPUTS
    window_days: int = Field(40, ge=5, le=WINDOW_DAYS)
    units: int = Field(16, ge=2, le=256)
    attention: int = Field(16, ge=2, le=256)
    hidden: int = Field(32, ge=2, le=512)
    dropout: float = Field(0.25, ge=0, lt=0.9)
    learning_rate: float = Field(0.002, gt=0, le=0.1)
    weight_decay: float = Field(0.001, ge=0)
    batch_rows: int = Field(256, ge=8)
    epochs: int = Field(12, ge=1, le=500)
    patience: int = Field(3, ge=1)
    stride_days: int = Field(2, ge=1, le=14)
    samples: int = Field(32, ge=2, le=512)
    mean_loss_share: float = Field(0.1, ge=0, le=1)

    @field_validator("inputs")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [n for n in names if n not in FEATURES]
        if unknown or not names:
            raise ValueError(f"must be names of features; {unknown} are not")
        return names
