"""Trainings that nobody asks for: by the calendar, and by drift."""
