"""Feature definitions, one module per family of measures."""
