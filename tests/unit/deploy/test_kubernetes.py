"""The manifests: strictly valid, hardened alike, and wired to what is there."""

import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import yaml

KUBERNETES = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"
SERVICES = ("gateway", "market-data", "forecast", "training")
CUSTOM = ("ServiceMonitor", "PrometheusRule", "Kustomization")


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


def validate_strictly(document: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own use of a deprecated resource API
        import kubernetes_validate

        kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.mark.parametrize("document", STANDARD, ids=named)
def test_it_is_valid_to_the_letter(document):
    validate_strictly(document)


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


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_probes_metrics_and_a_policy(name):
    (deployment,) = [d for d in ALL if named(d) == f"Deployment-{name}"]
    (container,) = pod(deployment)["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    (monitor,) = [d for d in ALL if named(d) == f"ServiceMonitor-{name}"]
    (service,) = [d for d in ALL if named(d) == f"Service-{name}"]
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert any(named(d) == f"NetworkPolicy-{name}" for d in ALL)


def test_artifacts_are_written_by_training_alone():
    for name in SERVICES:
        (deployment,) = [d for d in ALL if named(d) == f"Deployment-{name}"]
        mounts = {
            m["name"]: m.get("readOnly", False) for m in pod(deployment)["containers"][0]["volumeMounts"]
        }
        assert mounts.get("artifacts", True) is (name != "training")


@pytest.mark.parametrize("overlay", ["base", "overlays/production", "overlays/offline"])
def test_kustomize_builds_it(overlay):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here: install it to build the overlays")
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
    assert {"ServiceMonitor", "CronJob", "ConfigMap", "PersistentVolumeClaim"} <= kinds
