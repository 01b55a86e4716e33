"""Block imports of libraries that serving never uses.

LightGBM imports pandas, scikit-learn and others merely because they are installed (2 s and 80 MB). Images of
this service do not install them; in a developer's environment, where they are installed, this hides them.
"""

from __future__ import annotations

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
    """Block the packages from now on; call it before LightGBM is imported. A second call changes nothing."""
    if not any(isinstance(finder, _BlockingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BlockingFinder())
