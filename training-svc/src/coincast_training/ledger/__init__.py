"""The ledger: every served forecast on disk, scored once its day has come."""
