#!/usr/bin/env bash
# Run a separate Docker engine on a Debian machine without internet, with local stand-ins for the base images.
# Usage: engine.sh start FOLDER | stop FOLDER. Prints the DOCKER_HOST to use. Needs root and these packages:
#   apt-get install --no-install-recommends docker.io debootstrap iptables redis-server prometheus prometheus-alertmanager
# The stand-ins have the tags of the compose file. Python, Redis, Prometheus and Alertmanager are Debian's packages.
# Debian has no Grafana and no collector, so a server with a stand-in page replaces them.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
folder="${2:?usage: engine.sh start|stop FOLDER}"
export DOCKER_HOST="unix://$folder/docker.sock"
docker=/usr/bin/docker

stop() {
    local pid
    [[ -f "$folder/engine.pid" ]] || return 0
    pid="$(cat "$folder/engine.pid")"
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.2
    done
}

start_engine() {
    mkdir -p "$folder"
    /usr/sbin/dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/engine.pid" \
        -H "$DOCKER_HOST" --bip 172.30.0.1/24 --default-address-pool base=172.31.0.0/16,size=24 \
        >"$folder/engine.log" 2>&1 9>&- &
    for _ in $(seq 150); do $docker info >/dev/null 2>&1 && return; sleep 0.2; done
    echo "the engine did not start; its log ends with:" >&2
    tail -5 "$folder/engine.log" >&2
    exit 1
}

root_filesystem() {
    [[ -f "$folder/rootfs/.complete" ]] && return
    rm -rf "$folder/rootfs"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv bookworm "$folder/rootfs" >&2
    rm -f "$folder/rootfs/usr/lib/python3.11/EXTERNALLY-MANAGED"
    ln -sf /usr/bin/python3 "$folder/rootfs/usr/local/bin/python"
    ln -sf /usr/bin/python3 "$folder/rootfs/usr/local/bin/python3"
    ln -sf /usr/bin/pip3 "$folder/rootfs/usr/local/bin/pip"
    cp /etc/ssl/certs/ca-certificates.crt "$folder/rootfs/etc/ssl/certs/"
    touch "$folder/rootfs/.complete"
}

tag_of() { grep -oE "image: *\\$\{$1:-[^}]+" "$here/../../docker-compose.yml" | head -1 | sed 's/.*:-//'; }

import_python() {
    local tag
    tag="$(sed -n 's/^ARG PYTHON_IMAGE=//p' "$here/../../gateway/Dockerfile")"
    $docker image inspect "$tag" >/dev/null 2>&1 && return
    tar -C "$folder/rootfs" -c . | $docker import -c 'CMD ["python3"]' \
        -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' - "$tag" >&2
}

import_programs() {
    local tag
    tag="$(sed -n 's/^ARG PYTHON_IMAGE=//p' "$here/../../gateway/Dockerfile")"
    for name in REDIS PROMETHEUS ALERTMANAGER GRAFANA COLLECTOR; do
        $docker image inspect "$(tag_of ${name}_IMAGE)" >/dev/null 2>&1 && continue
        $docker build --network host --quiet --build-arg PYTHON_IMAGE="$tag" --target "${name,,}" \
            -t "$(tag_of ${name}_IMAGE)" -f "$here/stand-ins.Dockerfile" "$here" >&2
    done
}

case "$1" in
    start)
        stop
        start_engine
        root_filesystem
        import_python
        import_programs
        echo "$DOCKER_HOST"
        ;;
    stop) stop ;;
    *) echo "usage: engine.sh start|stop FOLDER" >&2; exit 2 ;;
esac
