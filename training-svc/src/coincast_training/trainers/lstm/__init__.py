"""Train the LSTM with TensorFlow."""
