"""What an error says, without the folders of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from coincast_chassis.observability.error_text import without_folders, without_path


def error_of(path: Path) -> OSError:
    try:
        path.read_bytes()
    except OSError as error:
        return error
    raise AssertionError("it can be read")


@pytest.mark.parametrize("kind", ["missing", "folder", "below a file"])
def test_an_error_of_the_system_says_its_reason_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "missing"
    if kind == "below a file":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "entry"
    error = error_of(path)
    text = without_path(error)
    assert text == error.strerror
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Could not open {folder}/model.txt", "Could not open model.txt"),
        ("FileNotFoundError(2, '{folder}/a/manifest.json')", "FileNotFoundError(2, 'manifest.json')"),
        ("{folder}/one.csv and {folder}/two.csv differ", "one.csv and two.csv differ"),
        ("in {folder}/, line 3", "in a folder, line 3"),
        ("path={folder}/x.yaml: bad", "path=x.yaml: bad"),
        ("unix:{folder}/redis.sock", "unix:redis.sock"),
        ("ask /forecasts/touch or /coins/markets", "ask /forecasts/touch or /coins/markets"),
        ("https://example.org/tmp/page/one", "https://example.org/tmp/page/one"),
        ("about 3/4 of usd/btc/eth", "about 3/4 of usd/btc/eth"),
        ("", "ValueError"),
    ],
)
def test_other_errors_keep_their_text_and_the_names_of_files(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert without_path(ValueError(text.format(folder=tmp_path))) == expected


def test_what_no_error_says_stays_as_it_is() -> None:
    text = "no coin 'a/b'; see /coins/list for the ids"
    assert without_folders(text) == text
