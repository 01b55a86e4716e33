"""Who may call the upstream, and when: one bucket for all replicas."""
