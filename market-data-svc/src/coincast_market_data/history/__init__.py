"""History: the upstream's points are built into candles of closed days and merged with the archive."""
