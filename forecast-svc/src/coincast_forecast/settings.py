"""Settings of the forecast service, read from FORECAST_ variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from coincast_chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """FORECAST_ variables; each has a default that works beside the other services on one machine."""

    model_config = SettingsConfigDict(env_prefix="FORECAST_")

    port: int = Field(50052, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    metrics_port: int = Field(9102, ge=0, le=65535, description="Port of /metrics; 0 picks a free one.")

    market_target: str = Field("127.0.0.1:50051", description="market-data-svc, host:port or a gRPC target")
    artifacts_dir: Path = Field(Path("var/artifacts"), description="where training-svc writes versions")
    spool_dir: Path = Field(Path("var/spool"), description="ledger entries while Redis is away")
    replica: str = Field("", description="names this replica's spool folder; empty: the host's name")

    history_days: int = Field(800, ge=120, le=10_000, description="closed days of each coin")
    history_coins: int = Field(500, ge=50, description="coins whose history is cached")
    prepared_megabytes: float = Field(
        24.0, gt=0, description="memory for cached features of all coins and models"
    )
    history_timeout_seconds: float = Field(5.0, gt=0, description="limit of one fetch of histories")
    day_check_seconds: float = Field(15.0, gt=0, description="how often the last closed day is requested")
    history_retry_seconds: float = Field(
        60.0, gt=0, description="wait before a lagging history is requested again"
    )
    stale_after_seconds: float = Field(
        120.0, gt=0, description="silence of market-data after which histories are stale"
    )

    step_timeout_seconds: float = Field(2.0, gt=0, description="limit of one step of the fallback chain")
    give_back_seconds: float = Field(
        10.0, gt=0, description="how often free memory is returned to the system"
    )
    forecast_cache_rows: int = Field(600, ge=0, description="forecasts cached per version; 0 caches none")
    max_batch_coins: int = Field(250, ge=1, le=250, description="coins in one batch through a model")

    watch_seconds: float = Field(1.0, gt=0, description="how often aliases are read")
    trial_timeout_seconds: float = Field(
        20.0, gt=0, description="limit of loading a version in the probe process"
    )
    refused_retry_seconds: float = Field(
        30.0, gt=0, description="wait before a version that was refused for a transient cause is tried again"
    )
    warm_seconds: float = Field(2.5, ge=0, description="how long the start waits for the first versions")
    signing_key: SecretStr | None = Field(None, description="key that artifacts are signed with")
    require_signature: bool = Field(False, description="refuse artifacts that are not signed")

    scenario_megabytes: float = Field(96.0, gt=0, description="memory for cached simulations of joint paths")
    scenario_timeout_seconds: float = Field(8.0, gt=0, description="limit of one simulation")

    ledger_drain_seconds: float = Field(1.0, gt=0, description="how often the spool is tried")
    shadow_queue_coins: int = Field(
        1000, ge=1, description="shadow forecasts that may wait; more are dropped"
    )
