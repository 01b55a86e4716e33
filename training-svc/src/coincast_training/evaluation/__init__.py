"""Walk-forward evaluation of every model, baseline and reference model."""
