"""Joint scenarios: paths of several coins, portfolio risk and touch probabilities from calibrated forecasts.

A `ScenarioLibrary` holds the moves of all coins after each past day, in units of the volatility that was
forecast on that day. `simulate_paths` applies the latest of these joint moves to the forecasts of today: the
marginal distribution of each coin is its served forecast, and the dependence between coins is that of
history. The paths are not sampled at random: each past day gives one path.

    library = ScenarioLibrary.from_bytes(content)
    paths = simulate_paths(library.window(as_of), forecasts, days=7)
    risk = assess_portfolio(paths, {"bitcoin": 5_000.0, "ethereum": -1_000.0}, days=7)
    touch = touch_probabilities(paths, "bitcoin", log_level=np.log(1.05))

Sources: Barone-Adesi et al. 1999 (filtered historical simulation); Clark et al. 2004 (Schaake shuffle);
Hazen 1914 (quantile of a sample); Tasche 1999 (components of expected shortfall).
"""

from __future__ import annotations

from coincast_modelkit.scenarios.library import (
    MAX_DAYS,
    MIN_OWN_DAYS,
    WINDOW_ORIGINS,
    MoveLibrary,
    ScenarioLibrary,
    ScenarioWindow,
    build_library,
)
from coincast_modelkit.scenarios.paths import JointPaths, simulate_paths
from coincast_modelkit.scenarios.portfolio import (
    DEFAULT_LEVELS,
    PortfolioRisk,
    TailRisk,
    assess_portfolio,
    tail_support,
)
from coincast_modelkit.scenarios.rank_library import RankLibrary, read_library
from coincast_modelkit.scenarios.record import RiskRecord, Statements
from coincast_modelkit.scenarios.scales import (
    day_scales,
    horizon_scales,
    quantiles_on_every_day,
    spread_of,
)
from coincast_modelkit.scenarios.touch import TouchProbabilities, touch_probabilities

__all__ = [
    "DEFAULT_LEVELS",
    "MAX_DAYS",
    "MIN_OWN_DAYS",
    "WINDOW_ORIGINS",
    "JointPaths",
    "MoveLibrary",
    "PortfolioRisk",
    "RankLibrary",
    "RiskRecord",
    "ScenarioLibrary",
    "ScenarioWindow",
    "Statements",
    "TailRisk",
    "TouchProbabilities",
    "assess_portfolio",
    "build_library",
    "day_scales",
    "horizon_scales",
    "quantiles_on_every_day",
    "read_library",
    "simulate_paths",
    "spread_of",
    "tail_support",
    "touch_probabilities",
]
