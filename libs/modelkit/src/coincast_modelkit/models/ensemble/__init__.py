"""The ensemble model: a pool of volatility forecasts; a recurrent network is an optional member."""
