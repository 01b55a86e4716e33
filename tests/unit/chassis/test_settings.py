"""Settings: a bad value is one line that names the variable, and code 2."""

import os
from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from coincast_chassis.settings import ServiceSettings, load_settings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TOY_")

    coingecko_api_key: str = ""


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("TOY_PORT", "1234")
    assert load_settings(Settings).port == 1234


def test_a_bad_value_is_one_line_and_code_2(monkeypatch, capsys):
    monkeypatch.setenv("TOY_PORT", "seventy")
    with pytest.raises(SystemExit) as caught:
        load_settings(Settings)
    lines = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert len(lines) == 1
    assert "TOY_PORT" in lines[0]
    assert "integer" in lines[0]


def test_a_bad_secret_is_not_repeated(monkeypatch, capsys):
    monkeypatch.setenv("TOY_LOG_LEVEL", "sesame-open")
    with pytest.raises(SystemExit):
        load_settings(Settings)
    assert "sesame-open" not in capsys.readouterr().err


def test_a_slip_of_the_keyboard_is_reported(monkeypatch, capsys):
    monkeypatch.setenv("TOY_METRICS_PROT", "1")
    load_settings(Settings)
    assert "Did you mean TOY_METRICS_PORT?" in capsys.readouterr().err


def test_secrets_are_files(monkeypatch, tmp_path: Path):
    (tmp_path / "toy_coingecko_api_key").write_text("CG-1\n")
    monkeypatch.setenv("COINCAST_SECRETS_DIR", f"{tmp_path}:{tmp_path / 'absent'}")
    assert load_settings(Settings).coingecko_api_key == "CG-1"


def test_secrets_do_not_show_in_the_settings_text():
    text = repr(Settings(redis_url="redis://:hunter2@r/0", sentry_dsn="https://hunter2@s/1"))
    assert "hunter2" not in text


def test_an_empty_variable_is_none_at_all(monkeypatch, tmp_path: Path):
    (tmp_path / "toy_coingecko_api_key").write_text("CG-1")
    monkeypatch.setenv("COINCAST_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TOY_COINGECKO_API_KEY", "")
    monkeypatch.setenv("TOY_PORT", "")
    settings = load_settings(Settings)
    assert (settings.coingecko_api_key, settings.port) == ("CG-1", 0)


SECRETS = {
    "a folder": (lambda path: path.mkdir(), "it is not a file"),
    "a pipe": (os.mkfifo, "it is not a file"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe"), "one line of text"),
    "two lines": (lambda path: path.write_text("CG-1\nCG-2\n"), "one line of text"),
    "a zero byte": (lambda path: path.write_bytes(b"CG\0x"), "one line of text"),
    "huge": (lambda path: path.write_bytes(b"x" * 70_000), "more than 65536"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_that_cannot_be_used_is_one_line_and_code_2(monkeypatch, capsys, tmp_path: Path, kind: str):
    make, fault = SECRETS[kind]
    make(tmp_path / "toy_coingecko_api_key")
    monkeypatch.setenv("COINCAST_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        load_settings(Settings)
    lines = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith("Secret toy_coingecko_api_key: ")
    assert fault in lines[0]
    assert str(tmp_path) not in lines[0]
    assert "CG-1" not in lines[0]


def test_other_entries_beside_the_secrets_are_passed_by(monkeypatch, capsys, tmp_path: Path):
    (tmp_path / "toy_coingecko_api_key").write_text("CG-1")
    (tmp_path / "..data").mkdir()
    (tmp_path / "other_key").mkdir()
    os.mkfifo(tmp_path / "line\nbreak")
    monkeypatch.setenv("COINCAST_SECRETS_DIR", str(tmp_path))
    assert load_settings(Settings).coingecko_api_key == "CG-1"
    assert capsys.readouterr().err == ""
