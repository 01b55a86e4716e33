"""The simulated or replayed market behind the sandbox's replies."""
