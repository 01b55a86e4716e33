"""Daily history: points from the upstream, made into candles of closed days, merged with the archive."""
