"""Typed settings from the environment and from files of secrets."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import read_plain_file

MAX_SECRET_BYTES = 65_536


class ServiceSettings(BaseSettings):
    """Settings of every service. A subclass sets its own `env_prefix` (MARKET_, ...) and default ports."""

    # An empty variable counts as unset, since compose files pass unset variables as empty ones.
    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics; 0 picks a free one.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", repr=False, description="Redis or Valkey.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level logged."
    )
    log_format: Literal["json", "console"] = Field("json", description="JSON lines, or text for a person.")
    environment: str = Field(
        "development", description="Name of the environment in error reports and traces."
    )
    sentry_dsn: str = Field(
        "", repr=False, description="DSN of the Sentry project for error reports; empty sends none."
    )
    sentry_traces_sample_rate: float = Field(0.0, ge=0, le=1, description="Share of requests Sentry traces.")
    otlp_endpoint: str = Field(
        "", description="OpenTelemetry collector (gRPC), http://host:4317; empty: off."
    )
    otlp_sample_rate: float = Field(1.0, ge=0, le=1, description="Share of new traces that are kept.")
    not_serving_seconds: float = Field(
        0.3, ge=0, description="Wait between NOT_SERVING and the drain, so that clients see it."
    )
    drain_seconds: float = Field(5.0, ge=0, description="Limit for calls in flight to end at a stop.")


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(cls: type[Settings]) -> Settings:
    """Return the settings from environment and secrets; a bad value ends the process with code 2.

    Secrets are files named like their variable in small letters (`market_api_key`) in the folders of
    COINCAST_SECRETS_DIR (separated by colons, the last one wins; default /run/secrets). A variable with
    the service's prefix that no setting has is reported on stderr.

    Raises:
        SystemExit: A setting is not valid; the exit code is 2.
    """
    folders = [
        Path(name) for name in os.environ.get("COINCAST_SECRETS_DIR", "/run/secrets").split(os.pathsep)
    ]
    present = [folder for folder in folders if folder.is_dir()]
    if faults := secret_faults(cls, present):
        sys.stderr.write("".join(f"{line}\n" for line in faults))
        raise SystemExit(2)
    try:
        settings = cls(_secrets_dir=present)
    except ValidationError as error:
        sys.stderr.write("".join(f"{line}\n" for line in explain(cls, error)))
        raise SystemExit(2) from None
    for line in unknown_variables(cls, os.environ):
        sys.stderr.write(f"{line}\n")
    return settings


def secret_faults(cls: type[ServiceSettings], folders: Sequence[Path]) -> list[str]:
    """Return one line for each file of a secret that cannot be used; other files are ignored.

    A service must not start without a secret that was meant for it: Docker creates a folder in the place of a
    file that it cannot find.
    """
    prefix = cls.model_config.get("env_prefix", "").lower()
    lines = []
    for path in (folder / f"{prefix}{name}" for folder in folders for name in cls.model_fields):
        if not path.exists() and not path.is_symlink():
            continue
        try:
            value = read_plain_file(path, max_bytes=MAX_SECRET_BYTES).decode().strip()
            fault = "it must be one line of text" if len(value.splitlines()) > 1 or "\0" in value else ""
        except UnicodeDecodeError:
            fault = "it must be one line of text"
        except OSError as error:
            fault = without_path(error)
        if fault:
            lines.append(
                f"Secret {path.name}: {fault}. Write the value into a file of that name and start again."
            )
    return lines


def explain(cls: type[ServiceSettings], error: ValidationError) -> list[str]:
    """Return one line for each bad value: the variable, the fault, and the purpose of the setting."""
    prefix = cls.model_config.get("env_prefix", "")
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        info = cls.model_fields.get(name)
        purpose = f" {info.description}" if info and info.description else ""
        what = problem["msg"].removeprefix("Value error, ").rstrip(".")
        lines.append(f"Setting {(prefix + name).upper()}: {what}.{purpose} Change it and start again.")
    return lines


def unknown_variables(cls: type[ServiceSettings], environ: dict[str, str] | os._Environ[str]) -> list[str]:
    """Return a line for each variable with the service's prefix that names no setting (often misspelled)."""
    prefix = cls.model_config.get("env_prefix", "").upper()
    known = [f"{prefix}{name}".upper() for name in cls.model_fields]
    lines = []
    for name in sorted(environ):
        if prefix and name.upper().startswith(prefix) and name.upper().split("__")[0] not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            lines.append(f"Setting {name} is unknown and was ignored.{hint}")
    return lines
