"""Makes what nobody has set: passwords of Redis and Grafana, the key that signs models; tells where they are.

Runs before every start and changes nothing that is there. Standard library only.
"""

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
    """Write a file that every user of the volume may read and nobody may change."""
    path.write_text(text)
    path.chmod(0o444)


def make(root: Path) -> list[str]:
    """Write what is missing under `root`; the lines to tell."""
    lines = []
    if not (root / "redis" / "redis.conf").exists():
        password = secrets.token_urlsafe(32)
        for service in SERVICES:
            write(root / "redis" / f"{service}_redis_url", f"redis://:{password}@redis:6379/0")
        write(root / "redis" / "redis.conf", REDIS.format(password=password))
        lines.append("Redis: a password was made; only the services know it.")
    if not (root / "models" / "training_signing_key").exists():
        key = secrets.token_urlsafe(32)
        write(root / "models" / "forecast_signing_key", key)
        write(root / "models" / "training_signing_key", key)
        lines.append("Models: a key to sign them was made; forecasts come from signed models only.")
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
