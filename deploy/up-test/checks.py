"""Checks of the up-test: pure functions of the output of docker, of metrics and of backups.

Only the standard library is used.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from typing import Any

DIGESTS = "digests.json"

# Kills the service's process from inside the container, like a crash. Process 1 is Docker's init, and the
# service is its child; the init exits when the child ends. `docker kill` is not used, since the engine would
# leave the container stopped. A kill by the process number on the host would reach another process if the
# engine runs on another machine.
CRASH = """
for folder in /proc/[0-9]*; do
    while read -r key value rest; do
        if [ "$key" = PPid: ] && [ "$value" = 1 ]; then found="$found ${folder#/proc/}"; fi
    done <"$folder/status"
done
[ -n "$found" ] || exit 3
kill -9 $found
"""

# Prints, as JSON, the digest of every file in the volumes that are backed up.
DIGEST_VOLUMES = """
import hashlib, json, pathlib
root = pathlib.Path("/var/lib/coincast")
files = [f for name in ("archive", "artifacts", "ledger") for f in (root / name).rglob("*") if f.is_file()]
print(json.dumps({f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}))
"""

EMPTY_VOLUMES = """
import pathlib, shutil
for name in ("archive", "artifacts", "ledger"):
    for found in pathlib.Path("/var/lib/coincast", name).iterdir():
        shutil.rmtree(found) if found.is_dir() else found.unlink()
"""


def faults(container: dict[str, Any]) -> list[str]:
    """Return the violations of the required hardening in a container, from the output of docker inspect."""
    host = container["HostConfig"]
    bad = {
        "root user": container["Config"]["User"].split(":")[0] in ("", "0", "root"),
        "writable root": not host["ReadonlyRootfs"],
        "capabilities": host["CapDrop"] != ["ALL"] or bool(host.get("CapAdd")),
        "privileged": bool(host.get("Privileged")),
        "the host's network": host.get("NetworkMode") == "host",
        "no memory limit": not host["Memory"],
        "no CPU limit": not (host.get("NanoCpus") or host.get("CpuQuota")),
        "no pids limit": not host["PidsLimit"] or host["PidsLimit"] < 0,
        "new privileges": "no-new-privileges:true" not in (host["SecurityOpt"] or []),
    }
    return [what for what, holds in bad.items() if holds]


def published(container: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return (service, address, port) of each port that a container publishes, configured or open."""
    service = container["Config"]["Labels"]["com.docker.compose.service"]
    wished = container["HostConfig"].get("PortBindings") or {}
    opened = container["NetworkSettings"].get("Ports") or {}
    bindings = [each for ports in (wished, opened) for found in ports.values() for each in found or []]
    return {(service, each["HostIp"], each["HostPort"]) for each in bindings}


def calls(metrics: str, method: str) -> float:
    """Return how many calls of a gRPC method a service has answered, from the text of its metrics."""
    lines = [line for line in metrics.splitlines() if line.startswith("coincast_grpc_server_calls_total{")]
    return sum(float(line.split()[-1]) for line in lines if f'method="{method}"' in line)


def printed_passwords(log: str) -> list[str]:
    """Return each password of Grafana that a log contains."""
    return re.findall(r"Grafana: \S+ user admin, password (\S+)", log)


def came_back(container: dict[str, Any], restarts_before: int) -> bool:
    """Return whether the engine has restarted a container, and the container runs and is healthy.

    Args:
        container: The output of docker inspect.
        restarts_before: The count of restarts before the crash. Only the restart policy increases the count;
            a manual restart resets it.
    """
    state = container["State"]
    healthy = (state.get("Health") or {}).get("Status", "healthy") == "healthy"
    return bool(container["RestartCount"] > restarts_before and state["Running"] and healthy)


def contents(backup: bytes) -> dict[str, str]:
    """Return the digest of every file in a backup by name, computed from the content of the files."""
    with tarfile.open(fileobj=io.BytesIO(backup), mode="r:gz") as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.name != DIGESTS]
        return {name: hashlib.sha256(file.read()).hexdigest() for name, file in files if file is not None}


def missing_places(names: dict[str, str], version: str) -> list[str]:
    """Return the kinds of files that are missing in a backup of a system in use.

    Args:
        names: The files of the backup, by name.
        version: The version of lightgbm that serves.
    """
    wanted = {
        "candles": r"archive/.+\.parquet",
        f"lightgbm {version}": rf"artifacts/lightgbm/{version}/manifest\.json",
        "aliases of lightgbm": r"artifacts/lightgbm/aliases\.json",
        "ledger": r"ledger/.+\.parquet",
    }
    return [what for what, name in wanted.items() if not any(re.fullmatch(name, each) for each in names)]
