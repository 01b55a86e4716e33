"""Hourly candles, volatility measures from them, and the model of the next 48 hours."""

from __future__ import annotations

from coincast_modelkit.hourly.candles import HourlyCandles, HourlyPanel
from coincast_modelkit.hourly.model import HourlyForecasts, IntradayModel

__all__ = ["HourlyCandles", "HourlyForecasts", "HourlyPanel", "IntradayModel"]
