"""Errors as RFC 9457 problem documents, request validation, and partial failures in lists."""
