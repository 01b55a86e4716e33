"""What a feature is: a name, a group, its parameters, its warm-up, a sentence, and how it is computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from coincast_modelkit.candles import Floats
from coincast_modelkit.features.context import Context

Compute = Callable[[Context], Floats]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix.

    warmup_days: rows before the first value. memory_days: rows that the value depends on, the current one
    included. formula: raise it whenever the same parameters begin to give other numbers; it enters the
    spec's hash.
    """

    name: str
    group: str
    doc: str
    warmup_days: int
    compute: Compute
    memory_days: int = 0
    params: dict[str, float] = field(default_factory=dict)
    formula: int = 1

    def __post_init__(self) -> None:
        if self.memory_days < self.warmup_days + 1:
            object.__setattr__(self, "memory_days", self.warmup_days + 1)

    def identity(self) -> str:
        """Return what the spec's hash is taken over: everything that decides the numbers."""
        return json.dumps(
            [self.name, self.group, self.warmup_days, self.memory_days, self.params, self.formula],
            sort_keys=True,
        )
