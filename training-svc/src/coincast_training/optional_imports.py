"""Import numerical libraries without the optional packages that they would import.

LightGBM imports pandas, scikit-learn and Dask if they are installed. Keras and arch import Matplotlib, arch
also imports Numba, and scoringrules compiles all scores with Numba. Training needs none of these, and they
would take two to eight seconds in each process of a job or an evaluation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

OPTIONAL_FOR_LIGHTGBM = (
    "pandas",
    "sklearn",
    "dask",
    "distributed",
    "matplotlib",
    "graphviz",
    "pyarrow",
    "cffi",
)
OPTIONAL_FOR_KERAS = ("pandas", "sklearn", "dask", "matplotlib", "IPython", "jax", "torch")
# The recursions of arch are compiled without Numba. pandas is not hidden, since arch returns its results in
# it.
OPTIONAL_FOR_ARCH = ("matplotlib", "numba")
OPTIONAL_FOR_SCORINGRULES = ("numba",)


@contextmanager
def hidden(packages: Sequence[str]) -> Iterator[None]:
    """Hide packages from the imports in the block, as if they were not installed.

    Packages that are already imported stay visible. The packages are hidden from all threads, so no other
    thread may import one of them during the block.
    """
    absent = [name for name in packages if name not in sys.modules]
    # If sys.modules has None for a package, its import fails, and a search for the package finds nothing.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # as documented by importlib
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def import_lightgbm_alone() -> None:
    """Import LightGBM without its optional packages.

    It is for processes that load a version before they import a trainer. Call it when the process starts:
    only the first import has an effect.
    """
    with hidden(OPTIONAL_FOR_LIGHTGBM):
        import lightgbm  # noqa: F401, PLC0415 - later imports reuse this one


def import_scoringrules() -> Any:
    """Import and return scoringrules without Numba; the evaluation only uses its NumPy backend."""
    with hidden(OPTIONAL_FOR_SCORINGRULES):
        import scoringrules  # noqa: PLC0415 - slow to import, and only the evaluation needs it
    return scoringrules
