"""Block imports of libraries that serving never uses; see coincast_chassis.import_blocker."""

from __future__ import annotations

from coincast_chassis.import_blocker import block_imports

BLOCKED_PACKAGES = frozenset(
    {"pandas", "sklearn", "dask", "distributed", "matplotlib", "graphviz", "pyarrow", "cffi", "tensorflow"}
)


def install() -> None:
    """Block the packages from now on. Call it before LightGBM is imported."""
    block_imports(BLOCKED_PACKAGES)
