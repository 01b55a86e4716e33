"""The REST gateway of Coincast."""
