"""Detection of implausible figures, and the data-quality log."""
