"""What the up-test judges by: pure, from what docker, metrics and a backup say. Standard library only."""

import hashlib
import io
import re
import tarfile
from typing import Any

DIGESTS = "digests.json"

# Ends the service's own process from inside the container, as a crash would: process 1 is Docker's init, that
# has it as a child and ends with it. After docker's own kill the engine would leave the container down, as
# somebody wished it; and its number on the host is another process where the engine is on another machine.
CRASH = """
for folder in /proc/[0-9]*; do
    while read -r key value rest; do
        if [ "$key" = PPid: ] && [ "$value" = 1 ]; then found="$found ${folder#/proc/}"; fi
    done <"$folder/status"
done
[ -n "$found" ] || exit 3
kill -9 $found
"""

# Prints the digest of every file of the volumes that a backup holds, as JSON.
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


def faults(told: dict[str, Any]) -> list[str]:
    """What a container lacks of the hardening that each must have."""
    host = told["HostConfig"]
    bad = {
        "root user": told["Config"]["User"].split(":")[0] in ("", "0", "root"),
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


def published(told: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(service, address, port) of all that a container shows outside, by wish and in fact."""
    service = told["Config"]["Labels"]["com.docker.compose.service"]
    wished = told["HostConfig"].get("PortBindings") or {}
    opened = told["NetworkSettings"].get("Ports") or {}
    bindings = [each for ports in (wished, opened) for found in ports.values() for each in found or []]
    return {(service, each["HostIp"], each["HostPort"]) for each in bindings}


def calls(metrics: str, method: str) -> float:
    """gRPC calls of one method that a service has answered, by its metrics."""
    lines = [line for line in metrics.splitlines() if line.startswith("coincast_grpc_server_calls_total{")]
    return sum(float(line.split()[-1]) for line in lines if f'method="{method}"' in line)


def told_passwords(log: str) -> list[str]:
    """Each password of Grafana that the log tells."""
    return re.findall(r"Grafana: \S+ user admin, password (\S+)", log)


def came_back(told: dict[str, Any], restarts_before: int) -> bool:
    """Whether the engine itself has started a container again since then, and it is well where it says.

    The count grows by the restart policy alone; a restart by hand sets it to nothing.
    """
    state = told["State"]
    healthy = (state.get("Health") or {}).get("Status", "healthy") == "healthy"
    return bool(told["RestartCount"] > restarts_before and state["Running"] and healthy)


def contents(backup: bytes) -> dict[str, str]:
    """Digest by name of every file in a backup, by what is in it and not by its own list."""
    with tarfile.open(fileobj=io.BytesIO(backup), mode="r:gz") as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.name != DIGESTS]
        return {name: hashlib.sha256(file.read()).hexdigest() for name, file in files if file is not None}


def missing_places(names: dict[str, str], version: str) -> list[str]:
    """What a backup of a system that has served for a while must hold and this one does not."""
    wanted = {
        "candles": r"archive/.+\.parquet",
        f"lightgbm {version}": rf"artifacts/lightgbm/{version}/manifest\.json",
        "aliases of lightgbm": r"artifacts/lightgbm/aliases\.json",
        "ledger": r"ledger/.+\.parquet",
    }
    return [what for what, name in wanted.items() if not any(re.fullmatch(name, each) for each in names)]
