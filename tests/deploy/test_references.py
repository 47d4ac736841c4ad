"""What objects say of each other holds: selectors, ports, names, mounts, keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from service_kit import __version__
from tests.support.label_selectors import ports_of, selected
from tests.support.overlays import (
    BROUGHT,
    K8S,
    KSERVE,
    OVERLAYS,
    ROOT,
    Built,
    containers,
    kserve,
    overlay,
)


def test_every_object_is_there_once_and_in_our_namespace(built: Built) -> None:
    names = Counter((found["kind"], found["metadata"]["name"]) for found in built.objects)
    assert [name for name, times in names.items() if times > 1] == []
    ours = "pbserve-revisions" if built.name == "revisions" else "pbserve"
    for found in built.objects:
        expected = None if found["kind"] == "Namespace" else ours
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


def test_each_deployment_has_its_service_budget_and_account(deployed: Built) -> None:
    for found in deployed.of("Deployment"):
        name, pod = found["metadata"]["name"], found["spec"]["template"]["spec"]
        deployed.one("Service", name)
        deployed.one("PodDisruptionBudget", name)
        deployed.one("ServiceAccount", pod["serviceAccountName"])
        assert pod["serviceAccountName"] == name


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


# --- versions, documentation


def tags(built: Built) -> Iterator[str]:
    for container in containers(built):
        yield container.container["image"]


def test_images_are_those_of_this_release(built: Built) -> None:
    for image in tags(built):
        name, _, tag = image.partition(":")
        assert name.rpartition("/")[2] in ("exporter", "inference")
        assert tag.removesuffix("-gpu").removesuffix("-openvino") == __version__
        on_gpu = "gpu" in built.name.split("+")
        assert tag.endswith("-gpu") is (on_gpu and name.endswith("/inference"))


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
