"""Train the LightGBM model."""
