"""Block imports of libraries that a service never uses.

Some libraries import optional ones whenever those are installed: LightGBM imports pandas and scikit-learn,
and pyarrow imports pandas. The images of the services do not install them. In a developer's environment,
where they are installed, this module hides them: a service starts seconds sooner and takes up to 80 MB less
memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _BlockingFinder:
    def __init__(self, packages: frozenset[str]) -> None:
        self.packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse blocked packages as if they were not installed; leave the rest to the other finders."""
        if path is None and fullname in self.packages:
            raise ModuleNotFoundError(f"{fullname} is blocked in this service", name=fullname)
        return None


def block_imports(packages: Iterable[str]) -> None:
    """Block the packages from now on. Call it before the imports that would load them.

    A second call with the same packages changes nothing.
    """
    blocked = frozenset(packages)
    if not any(isinstance(each, _BlockingFinder) and each.packages == blocked for each in sys.meta_path):
        sys.meta_path.insert(0, _BlockingFinder(blocked))
