"""What objects say of each other holds: selectors, ports, names, mounts, keys."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from service_kit import __version__
from tests.support.overlays import (
    BROUGHT,
    K8S,
    KSERVE,
    OVERLAYS,
    ROOT,
    Built,
    Manifest,
    build,
    containers,
    kserve,
    overlay,
)

COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
CLUSTER_WIDE = {"Namespace", "PriorityClass"}
# A pod of somebody's who may call, of the kind that the policies and the documentation name.
CALLER = {"pbserve-client": "true"}


def selects(selector: Manifest, labels: Manifest) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def pod_labels(built: Built) -> dict[str, dict[str, str]]:
    return {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in built.of("Deployment")
    }


def ports_of(built: Built, deployment: str) -> dict[str, int]:
    pod = built.one("Deployment", deployment)["spec"]["template"]["spec"]
    return {p["name"]: p["containerPort"] for c in pod["containers"] for p in c["ports"]}


def selected(built: Built, selector: Manifest) -> list[str]:
    return [name for name, labels in pod_labels(built).items() if selects(selector, labels)]


def test_every_object_is_there_once_and_in_our_namespace(built: Built) -> None:
    names = Counter((found["kind"], found["metadata"]["name"]) for found in built.objects)
    assert [name for name, times in names.items() if times > 1] == []
    for found in built.objects:
        expected = None if found["kind"] in CLUSTER_WIDE else "pbserve"
        assert found["metadata"].get("namespace") == expected


def test_selectors_find_the_pods_that_they_are_named_for(deployed: Built) -> None:
    for found in deployed.of("Deployment"):
        assert selected(deployed, found["spec"]["selector"]) == [found["metadata"]["name"]]
        spread = found["spec"]["template"]["spec"]["topologySpreadConstraints"]
        for constraint in spread:
            assert constraint["labelSelector"] == found["spec"]["selector"]
    for found in deployed.of("Service"):
        (name,) = selected(deployed, {"matchLabels": found["spec"]["selector"]})
        assert found["metadata"]["name"] in (name, f"{name}-headless")
    for found in deployed.of("PodDisruptionBudget"):
        assert selected(deployed, found["spec"]["selector"]) == [found["metadata"]["name"]]


def test_each_deployment_has_its_service_budget_account_and_priority(deployed: Built) -> None:
    for found in deployed.of("Deployment"):
        name, pod = found["metadata"]["name"], found["spec"]["template"]["spec"]
        deployed.one("Service", name)
        deployed.one("PodDisruptionBudget", name)
        deployed.one("ServiceAccount", pod["serviceAccountName"])
        deployed.one("PriorityClass", pod["priorityClassName"])
        assert pod["serviceAccountName"] == pod["priorityClassName"] == name


def test_services_lead_to_ports_of_the_pods(deployed: Built) -> None:
    for found in deployed.of("Service"):
        (name,) = selected(deployed, {"matchLabels": found["spec"]["selector"]})
        for port in found["spec"]["ports"]:
            assert ports_of(deployed, name)[port["targetPort"]] == port["port"]
    headless = deployed.one("Service", "pbserve-inference-headless")
    assert headless["spec"]["clusterIP"] == "None"
    normal = deployed.one("Service", "pbserve-inference")
    assert "clusterIP" not in normal["spec"]
    assert normal["spec"]["selector"] == headless["spec"]["selector"]


def test_programs_listen_on_the_ports_that_are_declared(built: Built) -> None:
    for container in containers(built):
        expected = {
            "h2c" if container.name.startswith("kserve") else "grpc": container.setting("listen"),
            "health": container.setting("health_listen"),
            # Knative takes one port a pod; Prometheus goes by an annotation.
            "metrics": None
            if container.name.startswith("kserve")
            else container.setting("metrics_listen"),
        }
        told = {name: f"0.0.0.0:{port}" for name, port in container.ports.items()}
        assert told == {name: address for name, address in expected.items() if address}


def test_the_port_of_kserves_scraping_is_the_one_of_metrics() -> None:
    (container,) = containers(kserve("polling"))
    runtime = kserve("polling").one("ServingRuntime", "pbserve")
    port = runtime["spec"]["annotations"]["prometheus.io/port"]
    assert container.setting("metrics_listen") == f"0.0.0.0:{port}"


def test_probes_ask_the_port_that_speaks_no_tls(built: Built) -> None:
    for container in containers(built):
        plain = container.ports.get("health", container.ports.get("h2c"))
        for probe in container.probes.values():
            assert probe["grpc"]["port"] == plain
        if "health" not in container.ports:
            assert "--insecure" in container.arguments


# --- network policies


def policies(built: Built, pod: str, direction: str) -> Iterator[Manifest]:
    for found in built.of("NetworkPolicy"):
        spec = found["spec"]
        if pod in selected(built, spec["podSelector"]) and direction in spec["policyTypes"]:
            yield spec


def test_nothing_goes_in_or_out_by_default(deployed: Built) -> None:
    deny = deployed.one("NetworkPolicy", "pbserve-deny-all")["spec"]
    assert sorted(selected(deployed, deny["podSelector"])) == sorted(pod_labels(deployed))
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny
    assert "egress" not in deny
    for found in deployed.of("NetworkPolicy"):
        assert selected(deployed, found["spec"]["podSelector"])


def entrances(built: Built, pod: str) -> dict[str, list[Manifest]]:
    """Returns port -> who may come to it."""
    found: dict[str, list[Manifest]] = {}
    for spec in policies(built, pod, "Ingress"):
        for rule in spec.get("ingress", ()):
            assert rule["from"]
            for port in rule["ports"]:
                found.setdefault(port["port"], []).extend(rule["from"])
    return found


def test_callers_and_prometheus_come_in_and_nobody_else(deployed: Built) -> None:
    gateways = list(deployed.of("Gateway"))
    for pod in pod_labels(deployed):
        found = entrances(deployed, pod)
        assert set(found) == {"grpc", "metrics"}
        assert set(found) <= set(ports_of(deployed, pod))
        (callers,) = (one for one in found["grpc"] if one["namespaceSelector"] == {})
        others = [one for one in found["grpc"] if one is not callers]
        assert callers["podSelector"] == {"matchLabels": CALLER}
        assert len(others) == (len(gateways) if pod == "pbserve-inference" else 0)
        for one in (*others, *found["metrics"]):
            assert list(one["namespaceSelector"]["matchLabels"]) == ["kubernetes.io/metadata.name"]


def test_pods_reach_dns_store_and_collector_and_nothing_else(deployed: Built) -> None:
    for pod in pod_labels(deployed):
        ports = [
            (port["protocol"], port["port"])
            for spec in policies(deployed, pod, "Egress")
            for rule in spec.get("egress", ())
            for port in rule["ports"]
            if rule["to"]
        ]
        assert {("UDP", 53), ("TCP", 53)} <= set(ports)
        (container,) = (c for c in containers(deployed) if c.name.endswith(pod[8:]))
        store = container.setting("store") or ""
        reaches = {("TCP", 443)} if store.startswith("s3://") else set()
        if collector := container.environment.get(COLLECTOR):
            reaches.add(("TCP", urlsplit(collector).port or 0))
        assert set(ports) - {("UDP", 53), ("TCP", 53)} == reaches


def test_the_collector_is_where_traces_may_go(deployed: Built) -> None:
    for container in containers(deployed):
        if collector := container.environment.get(COLLECTOR):
            policy = deployed.one("NetworkPolicy", "pbserve-traces")["spec"]
            (rule,) = policy["egress"]
            (peer,) = rule["to"]
            (namespace,) = peer["namespaceSelector"]["matchLabels"].values()
            assert str(urlsplit(collector).hostname).split(".")[1:] == [namespace, "svc"]


# --- mounts and what is in them


def test_every_volume_is_mounted_and_every_mount_has_a_volume(built: Built) -> None:
    for container in containers(built):
        mounted = {mount["name"] for mount in container.mounts.values()}
        assert mounted == set(container.volumes)
        assert all("subPath" not in mount for mount in container.mounts.values())


def test_claims_configs_and_secrets_are_there_or_named_in_the_documentation(built: Built) -> None:
    documentation = (ROOT / "docs" / "kubernetes.md").read_text()
    shared = overlay("local-pvc") if built.name == "polling" else built
    for container in containers(built):
        for volume in container.volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                shared.one("PersistentVolumeClaim", claim["claimName"])
            for kind, name in (
                ("ConfigMap", volume.get("configMap", {}).get("name")),
                ("Secret", volume.get("secret", {}).get("secretName")),
            ):
                if name and name in BROUGHT[kind]:
                    assert f"`{name}`" in documentation
                elif name:
                    built.one(kind, name)


def made_by_cert_manager(built: Built) -> set[str]:
    return {found["spec"]["secretName"] for found in built.of("Certificate")}


def test_files_that_settings_name_are_keys_of_what_is_mounted(built: Built) -> None:
    files = 0
    for container in containers(built):
        values = [*container.environment.values(), *(a.split("=")[-1] for a in container.arguments)]
        for value in values:
            folder, _, key = value.rpartition("/")
            mount = container.mounts.get(folder)
            if not mount:
                assert not value.startswith("/etc/")
                continue
            volume = container.volumes[mount["name"]]
            if config := volume.get("configMap"):
                assert key in built.keys("ConfigMap", config["name"])
            elif secret := volume.get("secret"):
                assert key in built.keys("Secret", secret["secretName"])
                # A pair made by hand has no authority in it.
                if key == "ca.crt":
                    assert secret["secretName"] in made_by_cert_manager(built)
            else:
                continue
            files += 1
    assert files or built.name in ("revisions", "dev")


def test_the_store_of_the_exporters_is_the_one_of_the_inference_pods(deployed: Built) -> None:
    stores = {}
    for container in containers(deployed):
        store = container.setting("store")
        assert store
        if store.startswith("/"):
            (path,) = (p for p in container.mounts if store.startswith(f"{p}/"))
            mount = container.mounts[path]
            claim = container.volumes[mount["name"]]["persistentVolumeClaim"]["claimName"]
            stores[container.program] = (claim, store.removeprefix(path))
            # Who only reads cannot write.
            assert mount.get("readOnly", False) is (container.program == "pbserve")
        else:
            stores[container.program] = (store, "")
    assert stores["pbserve"] == stores["pbexport"]


def test_folders_that_programs_write_are_writable_and_those_they_read_are_mounted(
    built: Built,
) -> None:
    for container in containers(built):
        written = {"/tmp", container.setting("store_cache")}  # noqa: S108 - a path in the pod
        for path in filter(None, written):
            volume = container.volumes[container.mounts[path]["name"]]
            assert volume["emptyDir"]["sizeLimit"]
            assert "readOnly" not in container.mounts[path]
        root = container.setting("checkpoint_root")
        if root:
            assert any(root == path or root.startswith(f"{path}/") for path in container.mounts)


def test_downloads_fit_the_cache_volume() -> None:
    for container in containers(overlay("s3")):
        if megabytes := container.setting("store_cache_mb"):
            volume = container.volumes[container.mounts["/cache"]["name"]]
            assert int(megabytes) < int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 1024
            assert container.program == "pbserve"
            return
    pytest.fail("nobody sets the size of the cache")


# --- certificates, scalers, routes


def test_certificates_are_for_the_names_that_callers_use(deployed: Built) -> None:
    for found in deployed.of("Service"):
        name = found["metadata"]["name"]
        certificates = {
            dns: certificate["spec"]["secretName"]
            for certificate in deployed.of("Certificate")
            for dns in certificate["spec"].get("dnsNames", ())
        }
        if not certificates:
            continue
        mounted = f"{name.removesuffix('-headless')}-tls"
        for suffix in ("", ".pbserve", ".pbserve.svc", ".pbserve.svc.cluster.local"):
            assert certificates[name + suffix] == mounted


def test_issuers_of_certificates_are_there(deployed: Built) -> None:
    issuers = {found["metadata"]["name"]: found["spec"] for found in deployed.of("Issuer")}
    for found in deployed.of("Certificate"):
        assert found["spec"]["issuerRef"]["name"] in issuers
    for spec in issuers.values():
        if authority := spec.get("ca"):
            (root,) = (
                found
                for found in deployed.of("Certificate")
                if found["spec"]["secretName"] == authority["secretName"]
            )
            assert root["spec"]["isCA"]


def test_with_certificates_the_clients_have_roles_by_their_names() -> None:
    found = overlay("mtls")
    rules = yaml.safe_load(found.content("Secret", "pbserve-access", "access.yaml"))
    names = {
        certificate["spec"]["commonName"]
        for certificate in found.of("Certificate")
        if certificate["spec"].get("usages") == ["client auth"]
    }
    assert set(rules["certificates"]) == names
    # A client makes no artifacts and moves no labels unless somebody says so.
    assert rules["certificates"]["pbserve-client"] == ["predict", "read"]


def test_a_deployment_has_one_scaler_at_most_and_then_no_number_of_its_own(
    deployed: Built,
) -> None:
    scaled = Counter(
        found["spec"]["scaleTargetRef"]["name"]
        for kind in ("ScaledObject", "HorizontalPodAutoscaler")
        for found in deployed.of(kind)
    )
    assert set(scaled) <= set(pod_labels(deployed))
    assert set(scaled.values()) <= {1}
    for found in deployed.of("Deployment"):
        assert ("replicas" in found["spec"]) is (found["metadata"]["name"] not in scaled)


def test_scalers_look_at_containers_and_requests_that_exist() -> None:
    (found,) = overlay("autoscale").of("ScaledObject")
    deployment = overlay("autoscale").one("Deployment", found["spec"]["scaleTargetRef"]["name"])
    named = {c["name"]: c for c in deployment["spec"]["template"]["spec"]["containers"]}
    (cpu,) = (one for one in found["spec"]["triggers"] if one["type"] == "cpu")
    assert named[cpu["metadata"]["containerName"]]["resources"]["requests"]["cpu"]
    assert 'namespace="pbserve"' in found["spec"]["triggers"][0]["metadata"]["query"]


def test_routes_lead_from_the_gateway_to_services(deployed: Built) -> None:
    for found in deployed.of("GRPCRoute"):
        for parent in found["spec"]["parentRefs"]:
            gateway = deployed.one("Gateway", parent["name"])
            (listener,) = (
                one for one in gateway["spec"]["listeners"] if one["name"] == parent["sectionName"]
            )
            assert found["spec"]["hostnames"] == [listener["hostname"]]
        for rule in found["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                service = deployed.one("Service", backend["name"])
                assert backend["port"] in [port["port"] for port in service["spec"]["ports"]]
    for kind in ("BackendTrafficPolicy", "BackendTLSPolicy"):
        for found in deployed.of(kind):
            for target in found["spec"]["targetRefs"]:
                deployed.one(target["kind"], target["name"])


def test_every_route_has_a_policy_and_only_calls_that_change_nothing_are_tried_again() -> None:
    found = overlay("gateway")
    retries = {
        policy["spec"]["targetRefs"][0]["name"]: policy["spec"]["retry"]
        for policy in found.of("BackendTrafficPolicy")
    }
    assert set(retries) == {route["metadata"]["name"] for route in found.of("GRPCRoute")}
    for route in found.of("GRPCRoute"):
        methods = [
            match["method"]["method"]
            for rule in route["spec"]["rules"]
            for match in rule.get("matches", ())
        ]
        if retries[route["metadata"]["name"]]["numRetries"]:
            assert methods
            assert set(methods) <= {"Predict", "ModelInfer"}
        else:
            assert methods == []


# --- versions, documentation


def tags(built: Built) -> Iterator[str]:
    for container in containers(built):
        yield container.container["image"]


def test_images_are_those_of_this_release(built: Built) -> None:
    for image in tags(built):
        name, _, tag = image.partition(":")
        assert name in ("pbserve/exporter", "pbserve/inference", "pbserve/inference-openvino")
        assert tag.removesuffix("-gpu") == __version__
        on_gpu = "gpu" in built.name.split("+")
        assert tag.endswith("-gpu") is (on_gpu and name == "pbserve/inference")


def test_the_documentation_names_every_overlay_and_component() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    components = [folder.name for folder in (K8S / "components").iterdir()]
    for name in (*OVERLAYS, *KSERVE, *components):
        assert f"`{name}`" in page


def test_the_documentations_commands_name_folders_that_are_there() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    folders = re.findall(r"deploy/k8s/[a-z0-9/-]+", page)
    assert "deploy/k8s/overlays/dev" in folders
    for folder in folders:
        assert (ROOT / folder).exists()


def kustomizations(page: str) -> Iterator[Any]:
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        if "kind: Kustomization" in block:
            yield yaml.safe_load(block)


def test_the_documentations_own_overlay_builds(tmp_path: Path) -> None:
    (example,) = kustomizations((ROOT / "docs" / "kubernetes.md").read_text())
    shutil.copytree(K8S, tmp_path / "deploy" / "k8s")
    own = tmp_path / "production"
    own.mkdir()
    (own / "kustomization.yaml").write_text(yaml.safe_dump(example))
    for generator in example["secretGenerator"]:
        for name in generator["files"]:
            (own / name).write_text("tokens: {}\n")
    found = build(own)
    assert {c.program for c in containers(found)} == {"pbserve", "pbexport"}
