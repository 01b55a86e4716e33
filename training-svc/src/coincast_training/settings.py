"""The settings of the training service, from `TRAINING_` variables of the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from coincast_chassis.settings import ServiceSettings

DEFAULT_COINS = (
    "bitcoin",
    "ethereum",
    "binancecoin",
    "ripple",
    "cardano",
    "dogecoin",
    "litecoin",
    "solana",
    "avalanche-2",
    "chainlink",
)
Share = Annotated[float, Field(ge=0, le=1)]


class GateSettings(ServiceSettings):
    """How much worse than its rivals a version may be and still serve; in points of skill."""

    gate_max_skill_loss_points: float = Field(default=1.0, ge=0, le=100)
    gate_max_crps_loss_points: float = Field(default=1.0, ge=0, le=100)
    gate_max_production_loss_points: float = Field(default=0.5, ge=0, le=100)


class DriftSettings(GateSettings):
    """When a model counts as drifted, and how often drift may start a training."""

    drift_check_seconds: float = Field(default=3600, ge=1)
    drift_window_days: int = Field(default=30, ge=7, le=365)
    drift_coverage_points: float = Field(default=8.0, gt=0, le=80)
    drift_min_forecasts: int = Field(default=200, ge=1)
    drift_psi: float = Field(default=0.25, gt=0)
    drift_ks: float = Field(default=0.25, gt=0, le=1)
    drift_feature_share: Share = 0.25
    drift_max_age_days: float = Field(default=14, gt=0)
    drift_cooldown_seconds: float = Field(default=86400, ge=0)
    drift_budget_per_week: int = Field(default=3, ge=0)


class Settings(DriftSettings):
    """Everything that an operator can set."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")

    port: int = 50053
    metrics_port: int = 9103
    market_target: str = "127.0.0.1:50051"
    artifacts_dir: Path = Path("var/artifacts")
    ledger_dir: Path = Path("var/ledger")
    config_dir: Path | None = None  # recipes, <model>.yaml; none means those that came with the installation
    work_dir: Path = Path("var/training")
    bootstrap: bool = False
    bootstrap_models: Annotated[tuple[str, ...], NoDecode] = ("lightgbm",)
    bootstrap_days: int = Field(default=2000, ge=0, le=10_000)
    coins: Annotated[tuple[str, ...], NoDecode] = DEFAULT_COINS
    vs_currency: str = "usd"
    days: int = Field(default=0, ge=0, le=10_000)
    seed: int = 7
    signing_key: SecretStr | None = None
    require_signature: bool = False

    max_queued_jobs: int = Field(default=20, ge=1)
    max_coins_per_job: int = Field(default=250, ge=1)
    max_running_jobs: int = Field(default=1, ge=1)
    max_attempts: int = Field(default=3, ge=1)
    job_timeout_seconds: float = Field(default=6 * 3600, gt=0)
    history_timeout_seconds: float = Field(default=120, gt=0)
    history_attempts: int = Field(default=4, ge=1)

    keep_versions: int = Field(default=10, ge=1)
    schedule: str = "0 3 * * 0"
    schedule_models: Annotated[tuple[str, ...], NoDecode] = ("lightgbm", "ml_ensemble")
    executor: str = "inline"

    ledger_consumer: str = "training-1"
    ledger_poll_seconds: float = Field(default=2.0, gt=0)
    scoring_seconds: float = Field(default=600, gt=0)

    @field_validator("coins", "bootstrap_models", "schedule_models", mode="before")
    @classmethod
    def _from_commas(cls, value: object) -> object:
        """Reads `a,b,c` as the environment gives it."""
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value
