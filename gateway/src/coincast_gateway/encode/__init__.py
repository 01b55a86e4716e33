"""From protobuf messages to plain dictionaries that become JSON."""
