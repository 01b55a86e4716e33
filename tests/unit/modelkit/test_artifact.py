"""Artifacts: whole or not at all, verified before parsed, refused where they do not fit."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coincast_modelkit.artifact import (
    GOLDEN,
    Aliases,
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    ArtifactRefused,
    HorizonRecord,
    Manifest,
    Record,
    aliases_path,
    check_golden,
    data_window,
    golden_bytes,
    list_versions,
    read_aliases,
    read_artifact,
    sweep_temporary,
    version_folder,
    write_artifact,
)
from coincast_modelkit.artifact.signature import make_seal
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models import TechnicalModel
from tests.unit.modelkit.modelkit_candles import panel

PANEL = panel(200)
MODEL = TechnicalModel()


def manifest() -> Manifest:
    return Manifest(
        model="technical",
        created_at=1.0,
        feature_names=(),
        feature_spec_hash=MODEL.spec.hash,
        data=data_window(PANEL),
        coins=tuple(PANEL),
        seeds=(7,),
        library_versions={"numpy": np.__version__},
        code_version="0.1.0",
        parameters={"a": [1, 2]},
        record=Record(1.0, ("bitcoin",), "2021-01-01", "2021-02-01", (HorizonRecord(1, 10, mase=1.0),)),
        golden=GOLDEN,
        parent="v000001",
    )


def save(folder: Path) -> None:
    MODEL.save(folder)
    (folder / "deep").mkdir()
    (folder / "deep" / "notes.txt").write_text("plain")
    (folder / GOLDEN).write_bytes(golden_bytes(MODEL, [prepare(PANEL["bitcoin"], PANEL, MODEL.spec)]))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    loaded = read_artifact(tmp_path, "technical", version)
    assert version == "v000001"
    assert not loaded.signed
    assert check_golden(loaded.model, loaded.golden) == 0.0
    written = loaded.manifest
    assert replace(written, version="", files={}) == manifest()
    assert set(written.files) == {GOLDEN, "deep/notes.txt"}


def test_versions_are_monotonic_even_when_the_newest_was_cleaned_away(tmp_path: Path) -> None:
    assert [write_artifact(tmp_path, manifest(), save) for _ in range(3)] == ["v000001", "v000002", "v000003"]
    folder = version_folder(tmp_path, "technical", "v000003")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    assert write_artifact(tmp_path, manifest(), save) == "v000004"
    assert list_versions(tmp_path, "technical") == ["v000001", "v000002", "v000004"]


def test_writers_at_the_same_time_get_their_own_versions(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(write_artifact(tmp_path, manifest(), save)))
        for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(found) == [f"v{i:06d}" for i in range(1, 9)]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_artifact(tmp_path, manifest(), full)
    assert list_versions(tmp_path, "technical") == []
    assert [p.name for p in (tmp_path / "technical").iterdir()] == []


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    write_artifact(tmp_path, manifest(), save)
    (tmp_path / "technical" / ".writing-abc").mkdir()
    assert sweep_temporary(tmp_path, "technical") == 1
    assert list_versions(tmp_path, "technical") == ["v000001"]


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.seal", GOLDEN, "deep/notes.txt"])
@pytest.mark.parametrize("at", [0, 7, 20])
def test_a_flipped_bit_is_found(tmp_path: Path, name: str, at: int) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    flip(version_folder(tmp_path, "technical", version) / name, at)
    with pytest.raises(ArtifactCorrupt):
        read_artifact(tmp_path, "technical", version)


@pytest.mark.parametrize("name", ["manifest.json", GOLDEN])
def test_a_truncated_file_is_found(tmp_path: Path, name: str) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    path = version_folder(tmp_path, "technical", version) / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtifactCorrupt):
        read_artifact(tmp_path, "technical", version)


def rewritten(root: Path, version: str, change: Callable[[dict], None]) -> None:
    """Someone edits the manifest and renews its digest."""
    folder = version_folder(root, "technical", version)
    plain = json.loads((folder / "manifest.json").read_text())
    change(plain)
    raw = json.dumps(plain).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.seal").write_bytes(make_seal(raw, None))


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "deep/../../x", "..\\x", "a\x00b", ""])
def test_a_manifest_may_not_point_outside_its_folder(tmp_path: Path, name: str) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    (tmp_path / "technical" / "outside.txt").write_text("secret")
    rewritten(tmp_path, version, lambda m: m["files"].update({name: {"sha256": "0" * 64, "size_bytes": 6}}))
    with pytest.raises(ArtifactRefused, match="outside"):
        read_artifact(tmp_path, "technical", version)


def test_links_are_refused_even_where_the_bytes_are_right(tmp_path: Path) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    path = version_folder(tmp_path, "technical", version) / "deep" / "notes.txt"
    (tmp_path / "elsewhere").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactRefused, match="plain file"):
        read_artifact(tmp_path, "technical", version)


def test_a_linked_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    folder = version_folder(tmp_path, "technical", version)
    (folder / "deep").rename(tmp_path / "moved")
    (folder / "deep").symlink_to(tmp_path / "moved")
    with pytest.raises(ArtifactRefused):
        read_artifact(tmp_path, "technical", version)
    (folder / GOLDEN).unlink()
    os.mkfifo(folder / GOLDEN)
    with pytest.raises(ArtifactRefused):
        read_artifact(tmp_path, "technical", version)


def test_signatures(tmp_path: Path) -> None:
    unsigned = write_artifact(tmp_path, manifest(), save)
    signed = write_artifact(tmp_path, manifest(), save, key=b"right")
    assert read_artifact(tmp_path, "technical", signed, key=b"right", require_signature=True).signed
    with pytest.raises(ArtifactRefused, match="another key"):
        read_artifact(tmp_path, "technical", signed, key=b"wrong")
    with pytest.raises(ArtifactRefused, match="unsigned"):
        read_artifact(tmp_path, "technical", unsigned, key=b"right", require_signature=True)
    with pytest.raises(ArtifactRefused, match="no key"):
        read_artifact(tmp_path, "technical", signed, require_signature=True)


def test_a_rewritten_manifest_loses_its_signature(tmp_path: Path) -> None:
    version = write_artifact(tmp_path, manifest(), save, key=b"right")
    rewritten(tmp_path, version, lambda m: m["parameters"].update(a=[3]))
    with pytest.raises(ArtifactRefused, match="unsigned"):
        read_artifact(tmp_path, "technical", version, key=b"right", require_signature=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(feature_spec_hash="0" * 64), "other feature definitions"),
        (lambda m: m.update(feature_names=["magic"]), "unknown features"),
        (lambda m: m.update(format_version=99), "newer"),
    ],
)
def test_what_does_not_fit_this_build_is_refused(
    tmp_path: Path, change: Callable[[dict], None], message: str
) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    rewritten(tmp_path, version, change)
    with pytest.raises(ArtifactRefused, match=message):
        read_artifact(tmp_path, "technical", version)


@pytest.mark.parametrize(
    "change", [lambda m: m.pop("coins"), lambda m: m.update(files=[]), lambda m: m.update(data=3)]
)
def test_a_manifest_of_another_shape_is_corrupt(tmp_path: Path, change: Callable[[dict], None]) -> None:
    version = write_artifact(tmp_path, manifest(), save)
    rewritten(tmp_path, version, change)
    with pytest.raises(ArtifactCorrupt):
        read_artifact(tmp_path, "technical", version)


def test_a_version_in_anothers_place_is_found(tmp_path: Path) -> None:
    write_artifact(tmp_path, manifest(), save)
    version_folder(tmp_path, "technical", "v000001").rename(version_folder(tmp_path, "technical", "v000002"))
    with pytest.raises(ArtifactCorrupt, match="v000001"):
        read_artifact(tmp_path, "technical", "v000002")


@pytest.mark.parametrize(
    ("model", "version"),
    [("../x", "v000001"), ("technical", "../.."), ("technical", "v1"), ("technical", "v000009")],
)
def test_names_that_can_be_no_artifact(tmp_path: Path, model: str, version: str) -> None:
    with pytest.raises(ArtifactMissing):
        read_artifact(tmp_path, model, version)


@pytest.mark.parametrize(
    ("golden", "message"),
    [("", "names no golden file"), ("other.npz", "none of its files"), ("empty.npz", "empty")],
)
def test_a_version_without_golden_forecasts_is_refused(tmp_path: Path, golden: str, message: str) -> None:
    def also_empty(folder: Path) -> None:
        save(folder)
        (folder / "empty.npz").touch()

    version = write_artifact(tmp_path, replace(manifest(), golden=golden), also_empty)
    with pytest.raises(ArtifactRefused, match=message):
        read_artifact(tmp_path, "technical", version)


def resaved(raw: bytes, **changes: np.ndarray | None) -> bytes:
    """A golden file with other arrays in it; None leaves one out."""
    with np.load(io.BytesIO(raw)) as file:
        arrays = {name: file[name] for name in file.files} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def test_a_golden_file_that_promises_nothing_is_refused() -> None:
    raw = golden_bytes(MODEL, [prepare(PANEL["bitcoin"], PANEL, MODEL.spec)])
    nobody = resaved(raw, coins=np.array([], dtype=str), quantiles=np.empty((0, 3, 15)))
    gaps = resaved(raw, quantiles=np.full((1, 3, 15), np.nan))
    never = resaved(raw, horizons=np.array([], dtype=int), quantiles=np.empty((1, 0, 15)))
    for empty in (nobody, gaps, never):
        with pytest.raises(ArtifactRefused, match="no whole forecast"):
            check_golden(MODEL, empty)
    with pytest.raises(ArtifactCorrupt, match="volatility"):
        check_golden(MODEL, resaved(raw, volatility=None))


def test_golden_forecasts_of_another_model_are_refused(tmp_path: Path) -> None:
    raw = golden_bytes(MODEL, [prepare(PANEL["bitcoin"], PANEL, MODEL.spec)])

    class Wider(TechnicalModel):
        def predict(self, prepared, horizons):
            found = super().predict(prepared, horizons)
            return replace(found, log_return_quantiles=found.log_return_quantiles * 1.01)

    with pytest.raises(ArtifactRefused, match="differ"):
        check_golden(Wider(), raw)
    with pytest.raises(ArtifactCorrupt):
        check_golden(MODEL, raw[:100])


def test_the_data_hash_follows_the_data_and_not_the_order() -> None:
    again = data_window(dict(reversed(list(PANEL.items()))))
    assert again == data_window(PANEL)
    changed = {**PANEL, "bitcoin": PANEL["bitcoin"].rows(1, 200)}
    assert data_window(changed).sha256 != again.sha256


def test_aliases(tmp_path: Path) -> None:
    assert read_aliases(tmp_path, "lightgbm") == Aliases()
    aliases = Aliases(production="v000001", challenger="v000002", challenger_share=0.1, revision=4)
    path = aliases_path(tmp_path, "lightgbm")
    path.parent.mkdir()
    replace_file(path, aliases.to_bytes())
    assert read_aliases(tmp_path, "lightgbm") == aliases
    assert aliases.named() == {"production": "v000001", "challenger": "v000002"}
    path.write_text("{")
    with pytest.raises(ArtifactError):
        read_aliases(tmp_path, "lightgbm")
    with pytest.raises(ValueError, match="challenger_share"):
        Aliases(challenger_share=1.5)
