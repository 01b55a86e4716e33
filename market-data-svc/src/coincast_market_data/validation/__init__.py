"""Detection of implausible values, and the record of what was set aside."""
