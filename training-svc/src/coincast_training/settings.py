"""Settings of the training service, from environment variables with the prefix `TRAINING_`."""

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
    """Tolerances of the promotion gate, in percentage points of skill."""

    gate_max_skill_loss_points: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Points below 0 at which the skill against the last price prevents a promotion.",
    )
    gate_max_crps_loss_points: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Points below 0 at which the CRPS skill against the Gaussian random walk prevents it.",
    )
    gate_max_production_loss_points: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Points by which a version may be worse than production and still be promoted.",
    )


class DriftSettings(GateSettings):
    """Limits of drift, and how often drift may start a training."""

    drift_check_seconds: float = Field(default=3600, ge=1, description="Seconds between drift checks.")
    drift_window_days: int = Field(
        default=30, ge=7, le=365, description="Days of live forecasts and features that a drift check covers."
    )
    drift_coverage_points: float = Field(
        default=8.0,
        gt=0,
        le=80,
        description="Deviation of the coverage of the 80 % interval, in points, that counts as drift.",
    )
    drift_min_forecasts: int = Field(
        default=200, ge=1, description="Minimum of scored forecasts for a coverage check."
    )
    drift_psi: float = Field(
        default=0.25, gt=0, description="Population stability index of a feature that counts as drift."
    )
    drift_ks: float = Field(
        default=0.25, gt=0, le=1, description="Kolmogorov-Smirnov distance of a feature that counts as drift."
    )
    drift_feature_share: Share = Field(
        0.25, description="Share of features that must exceed their limit to count as drift."
    )
    drift_max_age_days: float = Field(default=14, gt=0, description="Age at which a model is retrained.")
    drift_cooldown_seconds: float = Field(
        default=86400, ge=0, description="Minimum time between two trainings that drift starts."
    )
    drift_budget_per_week: int = Field(
        default=3, ge=0, description="Maximum number of trainings per week that drift may start."
    )


class Settings(DriftSettings):
    """Settings of the training service."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")

    port: int = Field(50053, description="Port to listen on; 0 picks a free one.")
    metrics_port: int = Field(9103, description="Port of /metrics; 0 picks a free one.")
    market_target: str = Field("127.0.0.1:50051", description="Address of market-data-svc.")
    artifacts_dir: Path = Field(
        Path("var/artifacts"),
        description="Folder of model versions, shared with the forecast service; only training writes it.",
    )
    ledger_dir: Path = Field(Path("var/ledger"), description="Folder of scored forecasts (Parquet).")
    config_dir: Path | None = Field(
        None, description="Folder of recipes, <model>.yaml; empty means the built-in ones."
    )
    work_dir: Path = Field(
        Path("var/training"), description="Folder of job logs, tuning studies and reports."
    )
    starter: bool = Field(
        True,
        description="Install the shipped starter versions at the first start, instead of training.",
    )
    bootstrap: bool = Field(
        False,
        description="Provide the first version of each model: a starter version, or else a training.",
    )
    bootstrap_models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("lightgbm",), description="Models that the first start trains."
    )
    bootstrap_days: int = Field(
        default=2000, ge=0, le=10_000, description="Days of history for first trainings; 0 means all."
    )
    coins: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_COINS, description="Coins of scheduled and first trainings."
    )
    vs_currency: str = Field("usd", description="Currency of the histories.")
    days: int = Field(
        default=0, ge=0, le=10_000, description="Days of history for scheduled trainings; 0 means all."
    )
    seed: int = Field(7, description="Random seed of every fit.")
    signing_key: SecretStr | None = Field(
        None, description="Key that signs versions; empty disables signing."
    )
    require_signature: bool = Field(False, description="Accept only signed versions.")

    max_queued_jobs: int = Field(
        default=20, ge=1, description="Maximum number of waiting jobs; further jobs are refused."
    )
    max_coins_per_job: int = Field(default=250, ge=1, description="Maximum number of coins of a job.")
    max_running_jobs: int = Field(
        default=1, ge=1, description="Maximum number of running jobs, each of a different model."
    )
    max_attempts: int = Field(default=3, ge=1, description="Number of attempts of a job whose process dies.")
    job_timeout_seconds: float = Field(default=6 * 3600, gt=0, description="Maximum duration of a job.")
    history_timeout_seconds: float = Field(
        default=120, gt=0, description="Timeout of one fetch of histories."
    )
    history_attempts: int = Field(default=4, ge=1, description="Attempts of a fetch of histories.")

    keep_versions: int = Field(
        default=10,
        ge=1,
        description="Newest versions to keep of each model; versions with an alias are always kept.",
    )
    schedule: str = Field(
        "0 3 * * sun",
        description="When to retrain: a cron expression in UTC with days by name; empty disables it.",
    )
    schedule_models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("lightgbm", "ml_ensemble"), description="Models that the schedule retrains."
    )
    executor: str = Field(
        "inline",
        description="Executor of the fits of trainings, tuning and backtests: inline, processes, "
        "processes:N or dask:tcp://host:port.",
    )

    ledger_consumer: str = Field("training-1", description="Name of this replica in the consumer group.")
    ledger_poll_seconds: float = Field(
        default=2.0, gt=0, description="Seconds between reads of the ledger stream."
    )
    scoring_seconds: float = Field(default=600, gt=0, description="Seconds between scoring runs.")

    @field_validator("executor")
    @classmethod
    def _check_executor(cls, address: str) -> str:
        """Reject a wrong executor address at startup, since every training uses it."""
        try:
            parts_of(address)
        except InvalidInput as error:
            raise ValueError(error.message) from error
        return address

    @field_validator("coins", "bootstrap_models", "schedule_models", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        """Split a list in an environment variable, like `a,b,c`."""
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value
