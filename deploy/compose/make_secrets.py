"""Create missing secrets: the passwords of Redis and Grafana, and the signing key of models.

It runs before every start, changes no existing file, and prints a line for each new secret. It uses only the
standard library.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

SERVICES = ("market", "forecast", "training", "gateway")
REDIS = """requirepass {password}
port 6379
protected-mode yes
dir /data
appendonly yes
save ""
maxmemory 384mb
maxmemory-policy volatile-lru
"""


def write(path: Path, text: str) -> None:
    """Write a file that every user of the volume may read and no user may change."""
    path.write_text(text)
    path.chmod(0o444)


def make(root: Path) -> list[str]:
    """Write missing secrets under `root` and return the lines to print."""
    lines = []
    if not (root / "redis" / "redis.conf").exists():
        password = secrets.token_urlsafe(32)
        for service in SERVICES:
            write(root / "redis" / f"{service}_redis_url", f"redis://:{password}@redis:6379/0")
        write(root / "redis" / "redis.conf", REDIS.format(password=password))
        lines.append("Redis: a password was created; only the services read it.")
    if not (root / "models" / "training_signing_key").exists():
        key = secrets.token_urlsafe(32)
        write(root / "models" / "forecast_signing_key", key)
        write(root / "models" / "training_signing_key", key)
        lines.append("Models: a signing key was created; forecasts come from signed models only.")
    if not (root / "grafana" / "admin_password").exists():
        password = secrets.token_urlsafe(12)
        write(root / "grafana" / "admin_password", password)
        lines.append(f"Grafana: http://127.0.0.1:3000, user admin, password {password}")
    return lines or [
        "All passwords are there; Grafana's is in the volume grafana-secret, file admin_password."
    ]


if __name__ == "__main__":
    for line in make(Path(sys.argv[1])):
        sys.stdout.write(f"{line}\n")
