"""Histories: candles of closed days and hours, built from the upstream's points and stored in the archive."""
