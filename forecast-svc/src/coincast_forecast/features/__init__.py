"""Model inputs, computed once per coin and closed day."""
