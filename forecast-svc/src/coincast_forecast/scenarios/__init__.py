"""Joint scenarios of several coins: price paths, portfolio risk and touch probabilities."""
