"""Starts the whole of Coincast as processes on one machine, watches it and stops it."""
