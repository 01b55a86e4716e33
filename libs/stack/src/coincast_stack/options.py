"""Options of a stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Upstream(StrEnum):
    """Source of market data; `auto` is CoinGecko if it answers, else the sandbox."""

    AUTO = "auto"
    COINGECKO = "coingecko"
    SANDBOX = "sandbox"


class RehearsedPlan(StrEnum):
    """Plans that can be rehearsed."""

    KEYLESS = "keyless"
    DEMO = "demo"
    BASIC = "basic"
    ANALYST = "analyst"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Options of a stack.

    Attributes:
        var_dir: Folder of the system's state.
        upstream: Source of market data.
        data: Folder of candles that the sandbox replays; None simulates coins.
        port: Port of the gateway; 0 picks a free one.
        redis_url: Address of a running Redis; empty starts an embedded server.
        train: Models that must be served before the stack counts as ready.
        later: Models that are trained afterwards, while the stack serves.
        coins: Coins that the folder of candles must contain.
        sandbox_arguments: Further arguments of the sandbox.
        extra_environment: Settings of services by the full names of their variables.
        coingecko_api_key: CoinGecko's API key; empty is the keyless plan, unless MARKET_API_KEY is set.
        admin_token: Token for the gateway's administrative routes; empty uses GATEWAY_ADMIN_TOKEN.
    """

    var_dir: Path
    upstream: Upstream = Upstream.SANDBOX
    data: Path | None = None
    port: int = 0
    redis_url: str = ""
    train: tuple[str, ...] = ("lightgbm",)
    later: tuple[str, ...] = ()
    coins: tuple[str, ...] = ()
    sandbox_arguments: tuple[str, ...] = ()
    extra_environment: dict[str, str] = field(default_factory=dict)
    coingecko_api_key: str = field(default="", repr=False)
    admin_token: str = field(default="", repr=False)
