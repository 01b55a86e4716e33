"""Artifacts that are damaged, swapped or moved while they are read: refused, never parsed, never served."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coincast_forecast.registry.probe_client import ProbeClient, VersionRefused
from coincast_forecast.registry.verification import VersionRequest, load_verified
from coincast_modelkit.artifact import ArtifactError
from coincast_modelkit.models import ForecastModel
from tests.unit.forecast.forecast_artifacts import golden_coins, tiny_lightgbm, write_version

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_version(tmp_path / "artifacts", tiny_lightgbm(1))
    return tmp_path / "artifacts"


def test_a_thousand_flipped_bits_are_all_refused_before_the_parse(root: Path) -> None:
    folder = root / "lightgbm" / "v000001"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    chosen = random.Random(1)
    refused = 0
    for _ in range(1000):
        file = chosen.choice(files)
        whole = file.read_bytes()
        data = bytearray(whole)
        data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        file.write_bytes(data)
        try:
            load_verified(VersionRequest(root, "lightgbm", "v000001"))
        except ArtifactError:
            refused += 1
        finally:
            file.write_bytes(whole)
    print(f"\nflipped bits: {refused} of 1000 refused")
    assert refused == 1000
    load_verified(VersionRequest(root, "lightgbm", "v000001"))


def test_every_truncation_is_refused(root: Path) -> None:
    folder = root / "lightgbm" / "v000001"
    chosen = random.Random(2)
    refused = tries = 0
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        whole = file.read_bytes()
        last = len(whole) - 1 - whole.endswith(b"\n")  # the line's end of the seal itself is no content
        for length in (0, 1, len(whole) // 2, last, *chosen.sample(range(last), 10)):
            file.write_bytes(whole[:length])
            tries += 1
            with pytest.raises(ArtifactError):
                load_verified(VersionRequest(root, "lightgbm", "v000001"))
            refused += 1
        file.write_bytes(whole)
    print(f"\ntruncations: {refused} of {tries} refused")


def test_a_version_replaced_under_the_reader_is_one_or_the_other(root: Path) -> None:
    """Two whole versions take turns under one name, file by file, while it is read again and again."""
    folder, other = root / "lightgbm" / "v000001", root.parent / "other"
    write_version(other, tiny_lightgbm(2))
    ones = files_of(folder)
    twos = files_of(other / "lightgbm" / "v000001")
    seeds = {answer_of(tiny_lightgbm(seed)): seed for seed in (1, 2)}
    whole, refused, mixed = {1: 0, 2: 0}, 0, 0
    with taking_turns(folder, ones, twos):
        began = time.monotonic()
        while (min(whole.values()) < 5 or refused < 20) and time.monotonic() - began < 120:
            try:
                answer = answer_of(load_verified(VersionRequest(root, "lightgbm", "v000001")).model)
            except ArtifactError:
                refused += 1
                continue
            if answer in seeds:
                whole[seeds[answer]] += 1
            else:
                mixed += 1
    print(f"\nreplaced under the reader: {whole} whole, {refused} refused, {mixed} mixed")
    assert mixed == 0
    assert min(whole.values()) >= 5, "a version was never read whole: nothing was tried"
    assert refused >= 20, "no read met both versions: nothing was tried"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@contextlib.contextmanager
def taking_turns(folder: Path, *versions: dict[str, bytes]) -> Iterator[None]:
    """Puts the files of one version over those of the other, one by one, with pauses of any length between:
    some reads find one version all the way, some find both.
    """
    stop, chosen = threading.Event(), random.Random(4)

    def replace() -> None:
        for files in itertools.cycle(reversed(versions)):
            for name, data in chosen.sample(sorted(files.items()), len(files)):
                (folder / f".{name}").write_bytes(data)
                (folder / f".{name}").rename(folder / name)
                stop.wait(chosen.uniform(0, 0.01))
            if stop.wait(chosen.uniform(0, 0.5)):
                return

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def answer_of(model: ForecastModel) -> bytes:
    """What a model says of two coins, to the last bit."""
    return model.predict(golden_coins(), range(1, 31)).log_return_quantiles.tobytes()


async def test_a_parser_that_aborts_takes_the_child_alone(tmp_path: Path) -> None:
    """Damage under a right digest: what the trial is for. LightGBM's parser crashes, hangs or reads
    nonsense.
    """
    chosen = random.Random(3)
    outcomes: dict[str, int] = {}
    model = tiny_lightgbm(1)
    write_version(tmp_path / "whole", model)
    async with ProbeClient(60) as trial:
        assert await trial.load(VersionRequest(tmp_path / "whole", "lightgbm", "v000001"))
    for number in range(12):

        def corrupt(folder: Path) -> None:
            file = folder / "volatility_7.txt"
            data = bytearray(file.read_bytes())
            for _ in range(20):
                data[chosen.randrange(len(data))] = chosen.randrange(256)
            file.write_bytes(data[: chosen.randrange(len(data) // 2, len(data))])

        root = tmp_path / str(number)
        write_version(root, model, corrupt=corrupt)
        async with ProbeClient(15) as trial:
            try:
                await trial.load(VersionRequest(root, "lightgbm", "v000001"))
                outcomes["loaded"] = outcomes.get("loaded", 0) + 1
            except VersionRefused as refusal:
                outcomes[refusal.cause] = outcomes.get(refusal.cause, 0) + 1
        shutil.rmtree(root)
    print(f"\ndamaged under a right digest, 12 times: {outcomes}")
    assert outcomes.get("loaded", 0) == 0
