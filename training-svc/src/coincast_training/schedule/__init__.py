"""Scheduled training by cron expressions."""
