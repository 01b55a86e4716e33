"""The typed Python client of the Coincast gateway, and the coincast command built on it."""
