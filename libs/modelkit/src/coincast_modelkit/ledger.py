"""The line that serving writes for every forecast it gives, and training scores once the day has come."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Self

# Where serving appends and training reads: one message an entry, its JSON in one field. A message may come
# twice:
# forecast_id and horizon_days tell.
STREAM_KEY = "coincast:ledger:forecasts"
STREAM_FIELD = "entry"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One forecast of one coin at one horizon.

    made_at is UNIX seconds; as_of an ISO date; prices in vs_currency; price_quantiles belong to
    probabilities. variant is the alias that answered; served_by a model's name or last_price; shadow means no
    one was shown it.
    """

    forecast_id: str
    made_at: float
    coin_id: str
    vs_currency: str
    as_of: str
    model: str
    version: str
    variant: str
    served_by: str
    horizon_days: int
    last_price: float
    probabilities: tuple[float, ...]
    price_quantiles: tuple[float, ...]
    shadow: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", tuple(float(p) for p in self.probabilities))
        object.__setattr__(self, "price_quantiles", tuple(float(q) for q in self.price_quantiles))
        if len(self.probabilities) != len(self.price_quantiles):
            raise ValueError("a ledger entry needs as many price_quantiles as probabilities")
        if not all(math.isfinite(x) for x in (self.made_at, self.last_price, *self.price_quantiles)):
            raise ValueError("a ledger entry holds finite numbers only")

    def to_json(self) -> str:
        """Return one line of strict JSON."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read a line of to_json; fields of later versions are ignored.

        Raises:
            ValueError: A field is absent.
        """
        raw = json.loads(line)
        if not isinstance(raw, dict):
            raise ValueError("a ledger entry is a JSON object")  # noqa: TRY004 - bad data, not a bad call
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{k: v for k, v in raw.items() if k in known})
        except TypeError as error:
            raise ValueError(f"a ledger entry is not whole: {error}") from error
