"""Render forecast distributions as the columns of a reply, with explanations and records."""
