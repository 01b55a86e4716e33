"""Static files of the pages, under names with a hash of their content, so that clients can cache them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import fastapi_offline

# Redoc loads a logo from another site and has no option to turn it off.
REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
YEAR_SECONDS = 365 * 24 * 3600
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".html": "text/html; charset=utf-8",
}
HERE = Path(__file__).parent / "static"
SWAGGER = Path(fastapi_offline.__file__).parent / "static"


@dataclass(frozen=True)
class Asset:
    """One file and the path it is served under."""

    file: Path

    @cached_property
    def body(self) -> bytes:
        """The file's bytes, without the reference to Redoc's logo on another site."""
        return self.file.read_bytes().replace(REDOC_LOGO, b"data:,")

    @cached_property
    def name(self) -> str:
        """The file name with a digest of the content."""
        digest = hashlib.blake2b(self.body, digest_size=6).hexdigest()
        return f"{self.file.stem}-{digest}{self.file.suffix}"

    @property
    def path(self) -> str:
        """The path under which it is served."""
        return f"/assets/{self.name}"

    @property
    def media_type(self) -> str:
        """The media type of the file's suffix."""
        return TYPES[self.file.suffix]


class Assets:
    """All files that the pages refer to."""

    def __init__(self) -> None:
        files = [
            *(SWAGGER / name for name in ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js")),
            *sorted(each for each in HERE.glob("*") if each.suffix in (".js", ".css", ".svg")),
        ]
        self._by_file = {file.name: Asset(file) for file in files}
        self.by_name = {asset.name: asset for asset in self._by_file.values()}

    def path(self, file: str) -> str:
        """Return the path under which a file is served."""
        return self._by_file[file].path

    def fill(self, template: str) -> str:
        """Return a page with each `{{name}}` replaced by the path of that file."""
        for name, asset in self._by_file.items():
            template = template.replace("{{" + name + "}}", asset.path)
        return template


@cache
def shipped_assets() -> Assets:
    """Return the files of this package, which are read once in a process."""
    return Assets()
