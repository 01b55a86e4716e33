"""Code that training and serving share: candles, features, models, intervals, artifact format."""
