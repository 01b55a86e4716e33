"""Detection of implausible values, and the log of what was quarantined."""
