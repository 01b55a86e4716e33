"""What the caller wants of a stack."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Upstream(StrEnum):
    """Where market data comes from; `auto` takes CoinGecko where it answers, else the sandbox."""

    AUTO = "auto"
    COINGECKO = "coingecko"
    SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """`port` 0 picks a free one; `data` None simulates; an empty `redis_url` starts a server; `train` names
    first models, without which it is not ready; `later` those that are trained after them, while it serves.
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
