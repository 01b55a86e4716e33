"""Hides secrets in whatever leaves the process: log lines, error reports."""

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
# `://user:password@host`: what stands before an @. Without one, the digits after the colon are a port.
_URL_PASSWORD = re.compile(r"(?P<lead>://[^/\s:@]*:)(?P<secret>[^\s'\"]+)(?=@)")


def scrub(value: Any, key: str = "") -> Any:
    """Return the value with everything hidden that is named like a secret or looks like one."""
    if isinstance(value, dict):
        return {name: scrub(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item, key) for item in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if key and _SECRET_KEY.search(key) else scrub_text(value)


def scrub_text(text: str) -> str:
    """Return the text without keys in addresses, headers and passwords in URLs."""
    text = _URL_PASSWORD.sub(rf"\g<lead>{HIDDEN}", text)
    return _SECRET_TEXT.sub(rf"\g<lead>{HIDDEN}", text)
