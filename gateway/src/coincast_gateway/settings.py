"""Settings of the gateway, from environment variables with the prefix GATEWAY_."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from coincast_chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of the gateway: addresses, timeouts, caches and limits."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    port: int = Field(8000, ge=0, le=65535, description="Port of the REST interface; 0 picks a free one.")
    metrics_port: int = Field(
        9100, ge=0, le=65535, description="Port of the metrics server; 0 picks a free one."
    )

    market_target: str = Field("127.0.0.1:50051", description="Address of market-data-svc.")
    forecast_target: str = Field("127.0.0.1:50052", description="Address of forecast-svc.")
    training_target: str = Field("127.0.0.1:50053", description="Address of training-svc.")

    market_deadline_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for market data.")
    forecast_deadline_seconds: float = Field(10.0, gt=0, le=60, description="Longest wait for a forecast.")
    training_deadline_seconds: float = Field(
        10.0, gt=0, le=60, description="Longest wait for the registry and jobs."
    )

    start_grace_seconds: float = Field(
        600.0,
        ge=0,
        description="How long after its first answer a service counts as starting: late answers are 503 with"
        " Retry-After until then, 504 later.",
    )

    prices_fresh_seconds: float = Field(5.0, ge=0, description="How long a response of /prices is cached.")
    markets_fresh_seconds: float = Field(15.0, ge=0, description="How long a response of /markets is cached.")
    history_fresh_seconds: float = Field(60.0, ge=0, description="How long a history is cached.")
    forecasts_fresh_seconds: float = Field(30.0, ge=0, description="How long a forecast is cached.")
    hot_cache_bytes: int = Field(64 * 1024 * 1024, gt=0, description="Memory of the response cache.")

    require_keys: bool = Field(False, description="Require API keys even on loopback.")
    allow_open: bool = Field(False, description="Allow reading without a key when listening beyond loopback.")
    key_per_minute: int = Field(
        1200, ge=0, description="Requests a minute that one key may make; 0: no limit."
    )
    address_per_minute: int | None = Field(
        None,
        ge=0,
        description=(
            "Requests a minute that one address may make without a key; 0: no limit. "
            "Empty: no limit on loopback, 300 elsewhere."
        ),
    )
    trusted_proxies: str = Field(
        "", description="Networks whose X-Forwarded-For header is trusted, separated by commas."
    )
    allowed_hosts: str = Field(
        "",
        description=(
            "Names, separated by commas, that the Host header may have beside those of loopback, "
            "while the gateway is open on loopback."
        ),
    )
    admin_token: SecretStr = Field(
        SecretStr(""),
        description=(
            "Token for administrative routes, sent as an API key. If it is set, these routes need it or a "
            "key with the scope admin, also on loopback."
        ),
    )
    cors_origins: str = Field(
        "", description="Origins that browsers may call from, separated by commas; * for all."
    )

    max_in_flight: int = Field(
        512, ge=1, description="Concurrent requests that are not answered from the response cache."
    )
    max_event_streams: int = Field(
        2000, ge=1, description="Concurrent event streams; a further one is answered with 503."
    )
    max_connections: int = Field(
        10_000, ge=10, description="Concurrent connections; beyond it the longest idle one is closed."
    )
    max_header_bytes: int = Field(
        32 * 1024, ge=1024, description="Largest size of request line and headers together."
    )
    max_url_bytes: int = Field(16 * 1024, ge=1024, description="Largest size of path and query together.")
    max_body_bytes: int = Field(64 * 1024, ge=1024, description="Largest body of a request.")
    header_seconds: float = Field(10.0, gt=0, description="Longest wait for the headers of a request.")
    body_seconds: float = Field(10.0, gt=0, description="Longest wait for the body of a request.")
    idle_seconds: int = Field(15, ge=1, description="How long an idle connection stays open.")

    redis_timeout_seconds: float = Field(0.05, gt=0, description="How long a request waits for Redis.")

    share_replies: bool = Field(
        False, description="Share cached responses with other replicas through Redis."
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that share the port.")
