"""Import numerical libraries without packages that they import merely because those are installed.

LightGBM imports pandas, scikit-learn and Dask to support them, Keras and arch Matplotlib, arch Numba, and
scoringrules compiles all scores with Numba. Training uses none of that, and each process of a job or an
evaluation would spend two to eight seconds on it.
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
# Its compiled recursions need no Numba. pandas stays: arch returns its results in it.
OPTIONAL_FOR_ARCH = ("matplotlib", "numba")
OPTIONAL_FOR_SCORINGRULES = ("numba",)


@contextmanager
def hidden(packages: Sequence[str]) -> Iterator[None]:
    """Hide packages from the imports in the block, as if they were not installed.

    Packages that are already imported stay visible. This holds for all threads, so no other thread may import
    one of them meanwhile.
    """
    absent = [name for name in packages if name not in sys.modules]
    # With None in its place an import fails, and a search for the package finds nothing.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # as documented by importlib
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def import_lightgbm_alone() -> None:
    """Import LightGBM without its optional packages; for processes that do not use its scikit-learn wrappers.

    The first import in a process decides, so it is called when the process starts.
    """
    with hidden(OPTIONAL_FOR_LIGHTGBM):
        import lightgbm  # noqa: F401, PLC0415 - imported for later imports of it


def import_scoringrules() -> Any:
    """Return the module scoringrules without Numba: the evaluation uses its backend on NumPy alone."""
    with hidden(OPTIONAL_FOR_SCORINGRULES):
        import scoringrules  # noqa: PLC0415 - slow to import, and only the evaluation needs it
    return scoringrules
