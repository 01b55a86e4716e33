"""What the process imports: nothing that serving does not need, however much is installed beside it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from coincast_forecast import lean_imports
lean_imports.install()
import coincast_forecast.app
light = {"scipy", "lightgbm", "onnxruntime"} & set(sys.modules)
import lightgbm, onnxruntime
heavy = {"pandas", "sklearn", "tensorflow", "keras", "dask", "matplotlib", "pyarrow"} & set(sys.modules)
print(sorted(light), sorted(heavy))
"""


def test_nothing_heavy_is_imported_even_where_it_is_installed() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
