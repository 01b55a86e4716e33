"""Health aggregation: current component status and a 7-day history."""
