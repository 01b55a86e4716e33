"""The registry: which versions there are, which of them serve, and who decided so."""
