"""What the process imports: nothing that serving does not need, however much is installed beside it."""

from __future__ import annotations

import subprocess
import sys

from coincast_forecast.lru import Lru

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


def test_what_is_kept_is_bounded_by_its_weight() -> None:
    kept: Lru[str, bytes] = Lru(10, len)
    for key in "abc":
        kept.put(key, b"1234")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (None, b"1234", b"1234")
    kept.put("b", b"12345678")
    assert (kept.get("b"), kept.get("c")) == (b"12345678", None)
    kept.discard("b")
    kept.put("d", b"1234567890")
    assert (len(kept), kept.get("d")) == (1, b"1234567890")
    kept.put("e", b"more than it can hold")
    assert len(kept) == 0
