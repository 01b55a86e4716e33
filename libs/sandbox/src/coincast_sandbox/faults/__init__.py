"""Fault injection: the active faults and what each does to a reply."""
