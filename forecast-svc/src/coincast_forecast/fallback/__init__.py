"""The fallback chain: which model answers when another cannot."""
