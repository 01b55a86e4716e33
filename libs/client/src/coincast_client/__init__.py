"""The typed Python client of the Coincast gateway, and the `coincast` command built on it.

with Coincast("http://127.0.0.1:8000") as coincast:
    forecast = coincast.forecasts(["bitcoin"], days=7).forecasts[0]
    print(forecast.points[-1].price, forecast.points[-1].intervals)
"""

from coincast_client.client import AsyncCoincast, Coincast
from coincast_client.errors import CoincastClientError, Refused, UnexpectedReply, Unreachable
from coincast_client.models import Forecast, Forecasts, Health, History, Model, Point, Price, Prices

__all__ = [
    "AsyncCoincast",
    "Coincast",
    "CoincastClientError",
    "Forecast",
    "Forecasts",
    "Health",
    "History",
    "Model",
    "Point",
    "Price",
    "Prices",
    "Refused",
    "UnexpectedReply",
    "Unreachable",
]
