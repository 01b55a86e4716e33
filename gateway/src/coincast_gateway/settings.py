"""Every setting of the gateway, read from GATEWAY_ variables."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from coincast_chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """Where the gateway listens, what stands behind it, and how much it lets in."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    port: int = Field(8000, ge=0, le=65535, description="Port of the REST interface; 0 picks a free one.")
    metrics_port: int = Field(9100, ge=0, le=65535, description="Port of /metrics alone; 0 picks a free one.")

    market_target: str = Field("127.0.0.1:50051", description="Address of market-data-svc.")
    forecast_target: str = Field("127.0.0.1:50052", description="Address of forecast-svc.")
    training_target: str = Field("127.0.0.1:50053", description="Address of training-svc.")

    market_deadline_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for market data.")
    forecast_deadline_seconds: float = Field(10.0, gt=0, le=60, description="Longest wait for a forecast.")
    training_deadline_seconds: float = Field(
        10.0, gt=0, le=60, description="Longest wait for the registry and jobs."
    )

    prices_fresh_seconds: float = Field(5.0, ge=0, description="How long a reply of /prices is served again.")
    markets_fresh_seconds: float = Field(
        15.0, ge=0, description="How long a reply of /markets is served again."
    )
    history_fresh_seconds: float = Field(60.0, ge=0, description="How long a history is served again.")
    forecasts_fresh_seconds: float = Field(30.0, ge=0, description="How long a forecast is served again.")
    hot_cache_bytes: int = Field(64 * 1024 * 1024, gt=0, description="Memory for ready replies.")

    workers: int = Field(1, ge=1, le=64, description="Processes that share the port.")
