"""Command line of the service: import of files, and commands that call a running service."""
