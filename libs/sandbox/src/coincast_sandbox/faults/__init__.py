"""Fault injection: which faults are active, and what each does to a reply."""
