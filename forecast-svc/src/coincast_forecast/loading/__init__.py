"""How a version gets from the volume into service: seen, verified, tried in a child process, loaded,
warmed, swapped in.
"""
