"""Write docs/settings.md from the settings that the services declare; with --check only compare it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from coincast_chassis.settings import ServiceSettings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
SERVICES = {
    "gateway": "coincast_gateway.settings",
    "market-data-svc": "coincast_market_data.settings",
    "forecast-svc": "coincast_forecast.settings",
    "training-svc": "coincast_training.settings",
}
HEAD = """# Settings

Generated from the code by `python deploy/settings_page.py`; a test checks that it is current. Each setting is
an environment variable. Its value may also be in a file with that name in lower case, in the folder
`COINCAST_SECRETS_DIR` (default `/run/secrets`); this is the place for keys. If a value is invalid, the
service prints one line that names the variable, and ends with exit code 2.
"""


def default_of(info: FieldInfo) -> str:
    """Return the default as text; secrets are never shown."""
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr) or value in ("", None):
        return ""
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in value)
    return str(value)


def table(cls: type[ServiceSettings], names: list[str]) -> list[str]:
    """Return the rows of the named settings of a class, with the head of the table."""
    prefix = str(cls.model_config.get("env_prefix", ""))
    rows = ["| variable | default | what |", "|---|---|---|"]
    for name in names:
        info = cls.model_fields[name]
        rows.append(f"| `{prefix}{name.upper()}` | {default_of(info)} | {info.description or ''} |")
    return rows


def settings_of(module: str) -> type[ServiceSettings]:
    """Return a service's class of settings."""
    found: type[ServiceSettings] = importlib.import_module(module).Settings
    return found


def page() -> str:
    """Return the page as text."""
    lines = [HEAD]
    shared = list(ServiceSettings.model_fields)
    for service, module in SERVICES.items():
        cls = settings_of(module)
        own = [name for name in cls.model_fields if name not in shared]
        lines += [f"\n## {service}\n", *table(cls, ["port", "metrics_port", *own])]
    example = settings_of(SERVICES["gateway"])
    lines += ["\n## Every service\n", "Shown with the gateway's prefix; the other services use their own.\n"]
    lines += table(example, [name for name in shared if name not in ("port", "metrics_port")])
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page; with --check only compare it, and return 1 if it is out of date."""
    text = page()
    if "--check" in arguments:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        sys.stderr.write("docs/settings.md is out of date: run python deploy/settings_page.py\n")
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
