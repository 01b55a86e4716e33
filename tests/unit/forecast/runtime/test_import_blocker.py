"""What the process imports and keeps, and how its threads share the interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from coincast_chassis.resilience.bounded_cache import Lru

CODE = """
import sys
from coincast_forecast.runtime import import_blocker
import_blocker.install()
import coincast_forecast.app
light = {"scipy", "lightgbm", "onnxruntime"} & set(sys.modules)
import lightgbm, onnxruntime
heavy = {"pandas", "sklearn", "tensorflow", "keras", "dask", "matplotlib", "pyarrow"} & set(sys.modules)
print(sorted(light), sorted(heavy))
"""


@pytest.mark.slow
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
    assert (len(kept), kept.get("e")) == (1, None)


YIELD = """
import ctypes, sys, threading
from coincast_forecast.inference.thread import shorten_switch_interval
shorten_switch_interval()
slack = []
thread = threading.Thread(target=lambda: slack.append(ctypes.CDLL(None).prctl(30, 0, 0, 0, 0)))
thread.start()
thread.join()
print(sys.getswitchinterval() <= 2e-5, slack)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has timer slack: run on Linux")
def test_threads_ask_for_the_interpreter_soon_and_by_an_exact_timer() -> None:
    done = subprocess.run([sys.executable, "-c", YIELD], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True [1]"
