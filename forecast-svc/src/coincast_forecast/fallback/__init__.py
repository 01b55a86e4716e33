"""The fallback chain: the models that are tried in order when a model cannot answer."""
