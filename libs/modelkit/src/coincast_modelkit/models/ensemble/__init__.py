"""The ensemble: a pool of volatility scales, with a recurrent network as an optional member."""
