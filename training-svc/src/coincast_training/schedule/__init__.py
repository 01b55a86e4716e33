"""Scheduled trainings by a cron expression."""
