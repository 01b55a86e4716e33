"""The reader of candle files that imports, replays and evaluations share."""

from __future__ import annotations
