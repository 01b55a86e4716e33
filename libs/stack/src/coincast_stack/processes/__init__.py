"""Child processes: start, probe, supervise and reap."""
