"""Fault injection: the active faults and their effects on replies."""
