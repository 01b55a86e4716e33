"""Redact secrets in log lines and error reports before they leave the process."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[hidden]"
_SECRET_KEY = re.compile(
    r"api.?key|token|secret|password|passwd|authorization|cookie|dsn|credential", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"(?P<lead>api_key[=:]\s*|api-key[=:]\s*|Bearer\s+)(?P<secret>[^\s&@'\"]+)", re.IGNORECASE
)
# `://user:password@host`. Without an @, the digits after the colon are a port and not a password.
_URL_PASSWORD = re.compile(r"(?P<lead>://[^/\s:@]*:)(?P<secret>[^\s'\"]+)(?=@)")


def scrub(value: Any, key: str = "") -> Any:
    """Return the value with every part redacted that has the name or the form of a secret."""
    if isinstance(value, dict):
        return {name: scrub(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item, key) for item in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if key and _SECRET_KEY.search(key) else scrub_text(value)


def scrub_text(text: str) -> str:
    """Return the text with API keys in URLs and headers, and passwords in URLs, redacted."""
    text = _URL_PASSWORD.sub(rf"\g<lead>{HIDDEN}", text)
    return _SECRET_TEXT.sub(rf"\g<lead>{HIDDEN}", text)
