"""Jobs: a queue that outlives restarts, one job a model at a time, each in a process of its own."""
