"""The settings of the training service, from `TRAINING_` variables of the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from coincast_chassis.errors import InvalidInput
from coincast_chassis.settings import ServiceSettings
from coincast_training.executors.factory import parts_of

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

    gate_max_skill_loss_points: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Skill against the last price that a version may lack and still be promoted.",
    )
    gate_max_crps_loss_points: float = Field(
        default=1.0, ge=0, le=100, description="CRPS skill against the Gaussian random walk that it may lack."
    )
    gate_max_production_loss_points: float = Field(
        default=0.5, ge=0, le=100, description="How much worse than production it may be."
    )


class DriftSettings(GateSettings):
    """When a model counts as drifted, and how often drift may start a training."""

    drift_check_seconds: float = Field(default=3600, ge=1, description="How often drift is looked for.")
    drift_window_days: int = Field(
        default=30, ge=7, le=365, description="Days of live forecasts and features that are looked at."
    )
    drift_coverage_points: float = Field(
        default=8.0, gt=0, le=80, description="Coverage of the 80 % interval off by so many points is drift."
    )
    drift_min_forecasts: int = Field(default=200, ge=1, description="Fewer scored forecasts say nothing.")
    drift_psi: float = Field(
        default=0.25, gt=0, description="Population stability index of a feature that counts as drift."
    )
    drift_ks: float = Field(
        default=0.25, gt=0, le=1, description="Kolmogorov-Smirnov distance of a feature that counts as drift."
    )
    drift_feature_share: Share = Field(0.25, description="Share of features that must have drifted.")
    drift_max_age_days: float = Field(
        default=14, gt=0, description="A model older than this is trained anew."
    )
    drift_cooldown_seconds: float = Field(
        default=86400, ge=0, description="Least time between two trainings that drift starts."
    )
    drift_budget_per_week: int = Field(
        default=3, ge=0, description="Most trainings a week that drift may start."
    )


class Settings(DriftSettings):
    """Everything that an operator can set."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")

    port: int = Field(50053, description="Port to listen on; 0 picks a free one.")
    metrics_port: int = Field(9103, description="Port of /metrics; 0 picks a free one.")
    market_target: str = Field("127.0.0.1:50051", description="Address of market-data-svc.")
    artifacts_dir: Path = Field(
        Path("var/artifacts"), description="The shared volume of versions; written here alone."
    )
    ledger_dir: Path = Field(Path("var/ledger"), description="Scored forecasts as Parquet.")
    config_dir: Path | None = Field(
        None, description="Recipes, <model>.yaml; empty takes those that came with the installation."
    )
    work_dir: Path = Field(Path("var/training"), description="Logs of jobs, studies of the tuner, reports.")
    starter: bool = Field(
        True,
        description="Install shipped starter versions at the first start in place of training.",
    )
    bootstrap: bool = Field(
        False, description="Provide first models where there are none: starter versions, else trained ones."
    )
    bootstrap_models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("lightgbm",), description="Which models the first start trains."
    )
    bootstrap_days: int = Field(
        default=2000, ge=0, le=10_000, description="Days of history that first models take; 0 takes all."
    )
    coins: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_COINS, description="Coins that scheduled and first trainings take."
    )
    vs_currency: str = Field("usd", description="Currency of the histories.")
    days: int = Field(
        default=0, ge=0, le=10_000, description="Days of history that scheduled trainings take; 0 takes all."
    )
    seed: int = Field(7, description="Seed of every fit.")
    signing_key: SecretStr | None = Field(
        None, description="Key that versions are signed with; empty signs none."
    )
    require_signature: bool = Field(False, description="Read only versions that are signed.")

    max_queued_jobs: int = Field(default=20, ge=1, description="Jobs that may wait; more are refused.")
    max_coins_per_job: int = Field(default=250, ge=1, description="Coins that one job may ask for.")
    max_running_jobs: int = Field(default=1, ge=1, description="Jobs at a time, of different models.")
    max_attempts: int = Field(
        default=3, ge=1, description="How often a job is taken up again after its worker died."
    )
    job_timeout_seconds: float = Field(default=6 * 3600, gt=0, description="A job that runs longer is ended.")
    history_timeout_seconds: float = Field(default=120, gt=0, description="Limit of one fetch of histories.")
    history_attempts: int = Field(default=4, ge=1, description="How often a fetch of histories is tried.")

    keep_versions: int = Field(
        default=10, ge=1, description="Versions kept a model, besides those that an alias names."
    )
    schedule: str = Field(
        "0 3 * * sun", description="When to retrain, as a crontab line in UTC with days by name; empty never."
    )
    schedule_models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("lightgbm", "ml_ensemble"), description="Which models the schedule retrains."
    )
    executor: str = Field(
        "inline",
        description="Where the fits of a training, its walk-forward record, its tuning and a backtest run: "
        "inline, processes, processes:N or dask:tcp://host:port.",
    )

    ledger_consumer: str = Field("training-1", description="This replica's name in the consumer group.")
    ledger_poll_seconds: float = Field(default=2.0, gt=0, description="How often the ledger stream is read.")
    scoring_seconds: float = Field(default=600, gt=0, description="How often due forecasts are scored.")

    @field_validator("executor")
    @classmethod
    def _an_executor(cls, address: str) -> str:
        """Every training goes through it, so a wrong one is told at the start."""
        try:
            parts_of(address)
        except InvalidInput as error:
            raise ValueError(error.message) from error
        return address

    @field_validator("coins", "bootstrap_models", "schedule_models", mode="before")
    @classmethod
    def _from_commas(cls, value: object) -> object:
        """Reads `a,b,c` as the environment gives it."""
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value
