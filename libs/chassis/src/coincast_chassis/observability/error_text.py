"""The text of an error for replies and logs, which must not tell where a machine stores its files."""

from __future__ import annotations

import re
from pathlib import Path

# An absolute path with at least one folder; a quote, a bracket or a blank ends it. The slash of an address
# such as https://host/path follows a slash, or has one after it.
ABSOLUTE_PATH = re.compile(r"(?<![\w./])/(?:[^\s/'\"()<>,;:]+/)+(?P<name>[^\s/'\"()<>,;:]*)")


def without_path(error: BaseException) -> str:
    """Return what an error says, without the folders of this machine.

    For an error of the operating system, it is the reason alone, such as 'No such file or directory'.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return without_folders(str(error)) or type(error).__name__


def without_folders(text: str) -> str:
    """Replace each absolute path by its last part; what is none on this machine, such as a route, stays."""

    def name_of(match: re.Match[str]) -> str:
        first = match[0].split("/", 2)[1]
        return match["name"] or "a folder" if Path("/", first).is_dir() else match[0]

    return ABSOLUTE_PATH.sub(name_of, text)
