"""One reader of candle files, for imports, replays and evaluations."""

from __future__ import annotations
