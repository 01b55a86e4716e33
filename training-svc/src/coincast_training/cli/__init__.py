"""The command `coincast-training`."""
