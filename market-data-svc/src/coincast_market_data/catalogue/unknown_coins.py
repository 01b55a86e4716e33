"""A budget of upstream calls for coins that the catalogue lacks."""

from __future__ import annotations

from collections.abc import Callable

BURST = 250
SECONDS_PER_QUESTION = 1.0
REMEMBERED = 1000


class UnknownCoinBudget:
    """Decide whether a coin that the catalogue lacks is looked up at CoinGecko.

    The catalogue can be an hour old, and CoinGecko prices coins that its list of active coins leaves out, so
    that a missing coin must be looked up. Misspelt ids must not use up the quota: a token bucket limits such
    questions. A coin that was let through stays so, since its answer is cached.
    """

    def __init__(self, unknown: Callable[[str], bool], monotonic: Callable[[], float]) -> None:
        self._unknown = unknown
        self._monotonic = monotonic
        self._tokens = float(BURST)
        self._filled_at = monotonic()
        self._allowed: dict[str, None] = {}

    def refuses(self, coin: str) -> bool:
        """Return whether the coin counts as unknown without a question."""
        if not self._unknown(coin) or coin in self._allowed:
            return False
        now = self._monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._filled_at) / SECONDS_PER_QUESTION)
        self._filled_at = now
        if self._tokens < 1.0:
            return True
        self._tokens -= 1.0
        if len(self._allowed) >= REMEMBERED:
            del self._allowed[next(iter(self._allowed))]
        self._allowed[coin] = None
        return False
