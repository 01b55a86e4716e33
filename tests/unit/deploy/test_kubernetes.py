"""The manifests: strictly valid, hardened alike, and wired to what is there."""

import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
SERVICES = ("gateway", "market-data", "forecast", "training")
# No schema of these is available: their fields are checked below.
CUSTOM = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
}
FOLDERS = ("base", "overlays/production", "overlays/offline")


def plain(folder: Path) -> list[dict]:
    return [
        document
        for file in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
        if document["kind"] != "Kustomization"
    ]


ALL = [
    *plain(KUBERNETES / "base"),
    *plain(KUBERNETES / "overlays/offline"),
    *plain(KUBERNETES / "overlays/production"),
]
STANDARD = [d for d in ALL if d["kind"] not in CUSTOM]


def pod(document: dict) -> dict:
    spec = document["spec"]
    spec = spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec
    return spec["template"]["spec"]


WORKLOADS = [d for d in ALL if d["kind"] in ("Deployment", "StatefulSet", "CronJob")]


def named(document: dict) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


def validate_strictly(document: dict) -> str:
    """Validate a document; return the version of the schema, which is an older one if that one is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own use of a deprecated resource API
        import kubernetes_validate

        return kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.mark.parametrize("document", STANDARD, ids=named)
def test_it_is_valid_to_the_letter(document):
    assert validate_strictly(document) == "1.33"


@pytest.mark.parametrize("document", WORKLOADS, ids=named)
def test_every_pod_is_hardened_and_bounded(document):
    spec = pod(document)
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "GATEWAY_PORT would become an address"
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


def test_what_waits_for_redis_outlives_its_pod_and_is_seen_by_the_others():
    (deployment,) = [d for d in ALL if named(d) == "Deployment-forecast"]
    (volume,) = [v for v in pod(deployment)["volumes"] if v["name"] == "spool"]
    (mount,) = [m for m in pod(deployment)["containers"][0]["volumeMounts"] if m["name"] == "spool"]
    name = volume["persistentVolumeClaim"]["claimName"]
    (claim,) = [d for d in ALL if named(d) == f"PersistentVolumeClaim-{name}"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert not mount.get("readOnly", False)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_probes_metrics_and_a_policy(name):
    (deployment,) = [d for d in ALL if named(d) == f"Deployment-{name}"]
    (container,) = pod(deployment)["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    assert any(named(d) == f"NetworkPolicy-{name}" for d in ALL)


@pytest.mark.parametrize("document", [d for d in ALL if d["kind"] in CUSTOM], ids=named)
def test_what_the_operator_reads_has_its_version_name_and_kind_alone(document):
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert document["apiVersion"] == CUSTOM[document["kind"]]
    assert document["metadata"]["name"]
    assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "coincast"
    assert set(document["spec"]) == (
        {"groups"} if document["kind"] == "PrometheusRule" else {"selector", "endpoints"}
    )


@pytest.mark.parametrize("name", SERVICES)
def test_a_monitor_finds_its_service_alone_and_reads_a_port_that_shows_metrics(name):
    (monitor,) = [d for d in ALL if named(d) == f"ServiceMonitor-{name}"]
    wanted = monitor["spec"]["selector"]
    assert set(wanted) == {"matchLabels"}
    found = [
        d
        for d in ALL
        if d["kind"] == "Service" and wanted["matchLabels"].items() <= d["metadata"].get("labels", {}).items()
    ]
    assert [d["metadata"]["name"] for d in found] == [name]
    ports = {port["name"]: port for port in found[0]["spec"]["ports"]}
    (deployment,) = [d for d in ALL if named(d) == f"Deployment-{name}"]
    listened = {port["name"] for port in pod(deployment)["containers"][0]["ports"]}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert set(endpoint) <= {"port", "interval", "relabelings"}
    assert re.fullmatch(r"[0-9]+(s|m)", endpoint["interval"])
    assert ports[endpoint["port"]]["targetPort"] in listened
    # Rules and dashboards tell replicas apart by this label.
    relabeled = {
        "sourceLabels": ["__meta_kubernetes_service_name"],
        "targetLabel": "service",
    }
    assert relabeled in endpoint["relabelings"]


def test_the_operator_gets_prometheus_own_rules():
    (rules,) = [d for d in ALL if d["kind"] == "PrometheusRule"]
    groups = [
        group
        for file in sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
    ]
    assert rules["spec"]["groups"] == groups, "run make pages"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_takes_every_file_that_stands_beside_it(folder):
    here = KUBERNETES / folder
    document = yaml.safe_load((here / "kustomization.yaml").read_text())
    known = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "images", "patches"}
    assert set(document) <= known
    assert (document["apiVersion"], document["kind"]) == (CUSTOM["Kustomization"], "Kustomization")
    assert document["namespace"] == "coincast"
    resources = set(document["resources"])
    assert {file.name for file in here.glob("*.yaml")} - {"kustomization.yaml"} <= resources
    assert [resource for resource in resources if not (here / resource).exists()] == []
    files = [name for made in document.get("configMapGenerator", []) for name in made.get("files", [])]
    assert [name for name in files if not (here / name).is_file()] == []
    for patch in document.get("patches", []):
        target = patch["target"]
        assert [d for d in ALL if named(d) == f"{target['kind']}-{target['name']}"], target
        assert {"op", "path"} <= set.intersection(*map(set, yaml.safe_load(patch["patch"])))


def test_artifacts_are_written_by_training_alone():
    for name in SERVICES:
        (deployment,) = [d for d in ALL if named(d) == f"Deployment-{name}"]
        mounts = {
            m["name"]: m.get("readOnly", False) for m in pod(deployment)["containers"][0]["volumeMounts"]
        }
        assert mounts.get("artifacts", True) is (name != "training")


@pytest.mark.slow
@pytest.mark.parametrize("overlay", FOLDERS)
def test_kustomize_builds_it(overlay):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: install a kubectl with kustomize 5")
    done = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    for document in built:
        if document["kind"] not in CUSTOM:
            validate_strictly(document)
    kinds = {document["kind"] for document in built}
    assert {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
    } <= kinds
    assert {"ServiceMonitor", "PrometheusRule", "CronJob", "ConfigMap", "PersistentVolumeClaim"} <= kinds
