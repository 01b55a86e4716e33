"""Forecast distributions rendered as the columns of a reply, with explanations and records."""
