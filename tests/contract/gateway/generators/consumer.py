"""A program of a user: it reads typed replies with the client that was generated into this folder.

Run with the interpreter of `make setup-generators`: `python consumer.py URL`.
"""

from __future__ import annotations

import json
import sys

from generated.api.forecasts import forecasts
from generated.api.market import prices
from generated.api.risk import portfolio
from generated.client import Client
from generated.models import (
    Forecasts,
    ForecastsModel,
    HoldingByAmount,
    PortfolioBody,
    Prices,
    ProblemDocument,
)


def main() -> None:
    """Print what the replies say, as JSON."""
    client = Client(base_url=sys.argv[1])
    quotes = prices.sync(client=client, ids="bitcoin,nothing", vs_currencies="usd")
    assert isinstance(quotes, Prices), quotes
    made = forecasts.sync(client=client, ids="bitcoin", days=7, model=ForecastsModel.LIGHTGBM)
    assert isinstance(made, Forecasts), made
    refused = forecasts.sync(client=client, ids="bitcoin", days=99)
    assert isinstance(refused, ProblemDocument), refused
    body = PortfolioBody(holdings=[HoldingByAmount(id="bitcoin", amount=0.1)], days=3)
    risk = portfolio.sync(client=client, body=body)
    assert not isinstance(risk, ProblemDocument), risk
    print(
        json.dumps(
            {
                "price": quotes.prices[0].price,
                "unknown": [error.id for error in quotes.errors],
                "horizons": [point.horizon_days for point in made.forecasts[0].points],
                "field": refused.field,
                "value": risk.value,
            }
        )
    )


if __name__ == "__main__":
    main()
