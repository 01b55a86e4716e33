"""Settings of the forecast service, read from FORECAST_ variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from coincast_chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """FORECAST_ variables; the defaults fit a start of all services on one machine."""

    model_config = SettingsConfigDict(env_prefix="FORECAST_")

    port: int = Field(50052, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    metrics_port: int = Field(9102, ge=0, le=65535, description="Port of /metrics; 0 picks a free one.")

    market_target: str = Field(
        "127.0.0.1:50051", description="Address of market-data-svc: host:port or a gRPC target."
    )
    artifacts_dir: Path = Field(
        Path("var/artifacts"), description="Folder into which training-svc writes model versions."
    )
    spool_dir: Path = Field(
        Path("var/spool"), description="Folder for entries of the forecast log while Redis is unavailable."
    )
    replica: str = Field("", description="Name of this replica's spool folder; empty means the host's name.")

    history_days: int = Field(800, ge=120, le=10_000, description="Closed days in the history of each coin.")
    history_coins: int = Field(500, ge=50, description="Coins whose history is cached.")
    prepared_megabytes: float = Field(
        24.0, gt=0, description="Memory for the cached features of all coins and models."
    )
    history_timeout_seconds: float = Field(5.0, gt=0, description="Timeout of one fetch of histories.")
    day_check_seconds: float = Field(
        15.0, gt=0, description="Seconds between requests for the last closed day."
    )
    history_retry_seconds: float = Field(
        60.0, gt=0, description="Seconds before a lagging history is requested again."
    )
    stale_after_seconds: float = Field(
        120.0,
        gt=0,
        description="Histories are stale after this many seconds without an answer from market-data.",
    )

    step_timeout_seconds: float = Field(2.0, gt=0, description="Timeout of one step of the fallback chain.")
    give_back_seconds: float = Field(
        10.0, gt=0, description="Seconds between returns of free memory to the system."
    )
    forecast_cache_rows: int = Field(
        600, ge=0, description="Forecasts cached per version; 0 disables the cache."
    )
    max_batch_coins: int = Field(250, ge=1, le=250, description="Maximum number of coins in one batch.")

    watch_seconds: float = Field(1.0, gt=0, description="Seconds between reads of the aliases.")
    trial_timeout_seconds: float = Field(
        20.0, gt=0, description="Timeout of loading a version in the probe process."
    )
    refused_retry_seconds: float = Field(
        30.0,
        gt=0,
        description="Seconds before a retry of a version that was refused for a transient cause.",
    )
    warm_seconds: float = Field(2.5, ge=0, description="How long the start waits for the first versions.")
    signing_key: SecretStr | None = Field(None, description="Key that signs artifacts.")
    require_signature: bool = Field(False, description="Accept only signed artifacts.")

    scenario_megabytes: float = Field(96.0, gt=0, description="Memory for cached simulations of joint paths.")
    scenario_timeout_seconds: float = Field(8.0, gt=0, description="Timeout of one simulation.")

    ledger_drain_seconds: float = Field(
        1.0, gt=0, description="Seconds between attempts to deliver the spool."
    )
    shadow_queue_coins: int = Field(
        1000, ge=1, description="Maximum number of queued shadow forecasts; further ones are dropped."
    )
