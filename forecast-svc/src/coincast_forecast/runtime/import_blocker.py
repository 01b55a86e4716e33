"""Keeps libraries that serving never uses out of the process.

LightGBM imports pandas, scikit-learn and others merely because they are installed (2 s and 80 MB). Images
of this service do not install them; where they are installed all the same (a developer's environment), this
hides them.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

BLOCKED_PACKAGES = frozenset(
    {"pandas", "sklearn", "dask", "distributed", "matplotlib", "graphviz", "pyarrow", "cffi", "tensorflow"}
)


class _BlockingFinder:
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse hidden packages as if they were not installed; leave the rest to the other finders."""
        if path is None and fullname in BLOCKED_PACKAGES:
            raise ModuleNotFoundError(f"{fullname} is not for the forecast service", name=fullname)
        return None


def install() -> None:
    """Hide them from here on; call it before LightGBM is imported. A second call changes nothing."""
    if not any(isinstance(finder, _BlockingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BlockingFinder())
