"""What training and serving must agree on: candles, features, models, intervals, artifact format."""
