"""Conversion of protobuf messages to dictionaries that are encoded as JSON."""
