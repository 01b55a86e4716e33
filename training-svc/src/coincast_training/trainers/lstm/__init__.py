"""Train the LSTM model with TensorFlow."""
