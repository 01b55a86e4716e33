"""The settings of the market-data service, read from MARKET_ variables and secret files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from coincast_chassis.settings import ServiceSettings
from coincast_market_data.coingecko.api_plans import PLANS, ApiPlan, PlanName

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_WARM_IDS = (
    "bitcoin,ethereum,ripple,binancecoin,solana,dogecoin,cardano,chainlink,avalanche-2,litecoin"
)


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class UpstreamName(StrEnum):
    """The kind of server at the upstream's address: declared by the settings and checked by its replies."""

    COINGECKO = "coingecko"
    SANDBOX = "sandbox"


class Settings(ServiceSettings):
    """Settings of the service. The defaults are safe without an API key."""

    model_config = SettingsConfigDict(env_prefix="MARKET_")

    port: int = Field(50051, ge=0, le=65535, description="Port of the gRPC interface; 0 picks a free one.")
    metrics_port: int = Field(9101, ge=0, le=65535, description="Port of /metrics; 0 picks a free one.")

    upstream: UpstreamName = Field(
        UpstreamName.COINGECKO,
        description="The kind of server at the upstream's address, coingecko or sandbox; its replies are"
        " checked against it.",
    )
    upstream_url: str = Field("", description="Base address, /api/v3 included; empty: the plan's own.")
    upstream_ca_file: Path | None = Field(
        None, description="File of certificates (PEM) to trust beside the usual ones, for an own mirror."
    )
    proxy_url: SecretStr | None = Field(
        None, description="Forward proxy to the upstream, http://user:password@host:port; empty: none."
    )
    plan: PlanName = Field(
        PlanName.KEYLESS,
        description="CoinGecko plan: keyless, demo, basic, analyst, lite, pro; auto detects it from the key.",
    )
    api_key: SecretStr | None = Field(
        None, description="CoinGecko API key; preferably in a file of the secrets folder."
    )
    known_refusal: str = Field(
        "",
        description="Why CoinGecko could not be had just before the start, as JSON (cause, sentence, at in"
        " UNIX seconds): `make run` sets it. The service does not repeat a refusal within an hour.",
    )

    per_minute_limit: int | None = Field(
        None, ge=1, description="Calls a minute; empty: the plan's safe default."
    )
    per_month_limit: int | None = Field(
        None, ge=0, description="Calls a month; 0: no limit; empty: the plan's default."
    )
    replicas: int = Field(
        1,
        ge=1,
        description="Number of replicas that divide the plan among them while Redis is unavailable. Replicas"
        " on one archive folder count each other, so they do not need it.",
    )
    history_reach_days: int | None = Field(
        None, ge=1, description="How many days back the plan's history reaches; empty: the plan's default."
    )

    max_connections: int = Field(100, ge=1, description="The most connections to the upstream.")
    max_keepalive_connections: int = Field(
        20, ge=0, description="The most idle connections to the upstream that stay open."
    )
    http2: bool = Field(True, description="Use HTTP/2 if the upstream supports it.")
    call_deadline_seconds: float = Field(
        8.0, gt=0, description="Total time of one call to the upstream, and of its retries."
    )
    connect_timeout_seconds: float = Field(
        3.0, gt=0, description="Longest wait for a connection to the upstream."
    )
    max_reply_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="The largest reply of the upstream, decoded."
    )
    max_attempts: int = Field(3, ge=1, le=5, description="The most attempts of one call.")
    retry_share: float = Field(0.2, ge=0, le=1, description="The most retries, as a share of first attempts.")
    quota_wait_seconds: float = Field(
        2.0, ge=0, description="How long the call of a waiting client may be queued by the rate limiter."
    )

    batch_window_seconds: float = Field(
        0.1, ge=0, le=5, description="How long requests for prices are collected for one upstream call."
    )
    batch_max_ids: int = Field(250, ge=1, le=250, description="The most ids in one upstream call.")
    batch_max_url_bytes: int = Field(
        2000, ge=200, description="The longest query string of one upstream call."
    )

    shared_fetch_wait_seconds: float = Field(
        3.0,
        ge=0,
        description="How long a replica waits for a key that another one fetches, before it does so.",
    )

    breaker_failures: int = Field(5, ge=1, description="Failures in a row that open a breaker.")
    breaker_reset_seconds: float = Field(
        20.0, gt=0, description="How long an open breaker pauses calls to the upstream."
    )
    breaker_min_calls: int = Field(5, ge=1, description="Calls before a breaker may open.")
    breaker_probe_seconds: float = Field(
        10.0, gt=0, description="How long the probe of a half-open breaker may take."
    )

    redis_patience_seconds: float = Field(
        0.05, gt=0, le=5, description="The longest time that one request waits for Redis in total."
    )

    cache_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="Secret that signs cached values in Redis: 16 characters or more, equal in all replicas.",
    )

    prices_fresh_seconds: float = Field(30.0, gt=0, description="How long prices are fresh.")
    markets_fresh_seconds: float = Field(
        60.0, gt=0, description="How long market tables and single documents are fresh."
    )
    lists_fresh_seconds: float = Field(
        3600.0, gt=0, description="How long lists of coins and currencies are fresh."
    )
    series_fresh_seconds: float = Field(300.0, gt=0, description="How long charts are fresh.")
    stale_if_error_seconds: float = Field(
        86_400.0, ge=0, description="How long old data is served, marked stale, while the upstream fails."
    )
    watch_heartbeat_seconds: float = Field(
        15.0, gt=0, description="How long a stream of live prices is silent before it sends a heartbeat."
    )
    memory_entries: int = Field(50_000, ge=100, description="The most prices in the memory cache.")
    memory_document_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, description="Memory of the cache of each kind of document."
    )
    ready_reply_seconds: float = Field(
        0.25, ge=0, le=5, description="How long an encoded reply for prices is cached."
    )

    warm_ids: Annotated[tuple[str, ...], NoDecode] = Field(
        tuple(DEFAULT_WARM_IDS.split(",")),
        description="Coins, separated by commas, that are fetched at the start and completed in the archive.",
    )
    warm_vs_currency: str = Field("usd", description="Currency of the coins of MARKET_WARM_IDS.")
    background_refresh: bool = Field(
        True,
        description="Refresh popular prices in time, and complete the archive of MARKET_WARM_IDS.",
    )

    archive_dir: Path = Field(Path("var/archive"), description="Folder of the candle archive.")
    hourly_retention_days: int = Field(
        730, ge=0, description="How many days hourly candles are stored; 0 stores all."
    )
    hourly_calls_at_once: int = Field(4, ge=1, le=32, description="Backfill calls in flight for one coin.")

    @field_validator("warm_ids", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("MARKET_UPSTREAM_URL must start with http:// or https://")
        if self.api_key is not None and self.base_url.startswith("http://") and not self._is_near():
            raise ValueError(
                "MARKET_API_KEY would be sent in the clear: MARKET_UPSTREAM_URL must be https://"
            )
        if self.proxy_url is not None and not _is_http(self.proxy_url.get_secret_value()):
            raise ValueError("MARKET_PROXY_URL must be an address such as http://proxy.example:3128")
        if self.upstream_ca_file is not None and not self.upstream_ca_file.is_file():
            raise ValueError(f"MARKET_UPSTREAM_CA_FILE={self.upstream_ca_file} is not a file")
        if (
            self.plan not in (PlanName.KEYLESS, PlanName.AUTO)
            and self.upstream == UpstreamName.COINGECKO
            and self.api_key is None
        ):
            raise ValueError(
                f"MARKET_PLAN={self.plan} needs MARKET_API_KEY, or a file market_api_key among the secrets"
            )
        return self

    def _is_near(self) -> bool:
        """Return whether the upstream is a sandbox beside the service, or an address of this machine."""
        return self.upstream == UpstreamName.SANDBOX or urlsplit(self.base_url).hostname in LOOPBACK

    @property
    def proxy(self) -> str | None:
        """The forward proxy to the upstream; None if there is none, or if the upstream is on this machine."""
        return None if self.proxy_url is None or self._is_near() else self.proxy_url.get_secret_value()

    @property
    def assumed_plan(self) -> ApiPlan:
        """The plan of the settings; with auto, the plan that is assumed until it is detected."""
        if self.plan != PlanName.AUTO:
            return PLANS[self.plan]
        return PLANS[PlanName.KEYLESS if self.api_key is None else PlanName.DEMO]

    @property
    def base_url(self) -> str:
        """The upstream's address, `/api/v3` included, without a slash at the end."""
        return (self.upstream_url or self.assumed_plan.base_url).rstrip("/")
