"""Write or print the version of all packages: `make version VERSION=1.2.3` writes it into each of them.

Without an argument it prints the version. It fails if packages state different versions.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = "libs/bundle/pyproject.toml"
VERSION_LINE = re.compile(r'^version = "([^"]+)"$', re.MULTILINE)
PIN = re.compile(r'"(coincast-[a-z-]+)==[^"]+"')
FORM = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


def projects() -> list[Path]:
    """Return the pyproject.toml of every package."""
    found = [*REPOSITORY.glob("*/pyproject.toml"), *REPOSITORY.glob("*/*/pyproject.toml")]
    return sorted(path for path in found if VERSION_LINE.search(path.read_text()))


def version_of(project: Path) -> str:
    """Return the version that a package states."""
    found = VERSION_LINE.search(project.read_text())
    return found[1] if found else ""


def current() -> str:
    """Return the version, which the package `coincast` states."""
    return version_of(REPOSITORY / SOURCE)


def differing() -> list[str]:
    """Return the packages and the pins that state another version than the package `coincast`."""
    version = current()
    found = [str(path.relative_to(REPOSITORY)) for path in projects() if version_of(path) != version]
    pins = [
        pin[0] for pin in PIN.finditer((REPOSITORY / SOURCE).read_text()) if f'=={version}"' not in pin[0]
    ]
    return found + pins


def write(version: str) -> None:
    """Write a version into every package and every pin.

    Raises:
        ValueError: The version does not have the form 1.2.3, 1.2.3a1, 1.2.3b1 or 1.2.3rc1.
    """
    if not FORM.fullmatch(version):
        raise ValueError(f"VERSION {version!r} is not of the form 1.2.3; give for example VERSION=1.2.3.")
    for path in projects():
        text = VERSION_LINE.sub(f'version = "{version}"', path.read_text())
        path.write_text(PIN.sub(rf'"\1=={version}"', text))


def main(arguments: list[str]) -> int:
    """Write or print the version; return 1 if packages differ or the version is malformed."""
    if arguments:
        try:
            write(arguments[0])
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    if found := differing():
        sys.stderr.write(
            f"{', '.join(found)} differ from {current()}: run make version VERSION={current()}\n"
        )
        return 1
    sys.stdout.write(f"{current()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
