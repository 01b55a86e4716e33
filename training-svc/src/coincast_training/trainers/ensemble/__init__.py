"""Train the ensemble: its members, their pool and the backtest that calibrates it."""
