"""A folder of somebody's own: what they bring is what comes out, with every component and pair."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.overlays import (
    ACCESS,
    BROUGHT,
    COMPONENTS,
    CONFIGS,
    K8S,
    MODELS,
    REGISTRY,
    STORES,
    Built,
    Manifest,
    build,
    combined,
    containers,
)

NAMESPACE = "vision"
CLUSTER_WIDE = {"Namespace", "PriorityClass", "ClusterRole", "CustomResourceDefinition"}
# Of each, one.
EXCLUSIVE = (
    set(STORES),
    {"cpu", "gpu", "gpu-mig", "gpu-shared"},
    {"autoscale", "autoscale-cpu"},
    {"plain", "mtls", "gateway"},
)
NEEDS = {"gpu-mig": "gpu", "gpu-shared": "gpu"}
# `gateway` and `mtls` go together where the gateway has a certificate of its own.
PAIRS = [
    pair
    for pair in itertools.combinations(COMPONENTS, 2)
    if not any(set(pair) <= one for one in EXCLUSIVE) or set(pair) == {"mtls", "gateway"}
]


def production(parts: tuple[str, ...], folder: Path, namespace: str = NAMESPACE) -> Built:
    folder.mkdir()
    needed = (NEEDS[part] for part in parts if part in NEEDS and NEEDS[part] not in parts)
    return combined((*needed, *parts), folder, namespace)


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_somebody_brings_comes_out_with_every_component(
    component: str, tmp_path: Path
) -> None:
    check_all(production((component,), tmp_path / "own"), (component,))


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_what_somebody_brings_comes_out_with_every_pair(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    check_all(production(pair, tmp_path / "own"), pair)


def check_all(found: Built, parts: tuple[str, ...]) -> None:
    # The access file, the models file: whole, and under the names that pods mount.
    assert found.content("Secret", "pbserve-access", "access.yaml") == ACCESS
    assert found.content("ConfigMap", "pbserve-models", "models.yaml") == MODELS
    for container in containers(found):
        image, _, tag = container.container["image"].partition(":")
        assert image == f"{REGISTRY}/{container.container['name']}"
        assert tag
        for part in set(parts) & set(CONFIGS):
            assert container.environment.items() >= CONFIGS[part].items()
    check_references(found)
    for one in found.objects:
        namespace = one["metadata"].get("namespace")
        assert namespace == (None if one["kind"] in CLUSTER_WIDE else NAMESPACE), one["metadata"]
    assert list(old_names(found)) == []


def check_references(found: Built) -> None:
    """Every ConfigMap and Secret of a pod is in the folder, or named as what people bring."""
    names = {(one["kind"], one["metadata"]["name"]) for one in found.objects}
    for container in containers(found):
        for source in container.container.get("envFrom", ()):
            assert ("ConfigMap", source["configMapRef"]["name"]) in names
        for volume in container.volumes.values():
            for kind, key in (("Secret", "secretName"), ("ConfigMap", "name")):
                name = volume.get(kind[0].lower() + kind[1:], {}).get(key)
                assert name is None or name in BROUGHT[kind] or (kind, name) in names


def old_names(found: Built) -> Iterator[str]:
    """Yields texts that still have the namespace that our own files have."""
    for one in found.objects:
        text = json.dumps(one)
        for old in (".pbserve.svc", 'namespace=\\"pbserve\\"', '"pbserve-inference.pbserve"'):
            if old in text:
                yield f"{one['kind']} {one['metadata']['name']}: {old}"


def test_names_follow_the_namespace(tmp_path: Path) -> None:
    found = production(("mtls", "gateway", "autoscale"), tmp_path / "own")
    for name, services in (
        ("pbserve-inference", ("pbserve-inference", "pbserve-inference-headless")),
        ("pbserve-exporter", ("pbserve-exporter",)),
    ):
        suffixes = ("", ".vision", ".vision.svc", ".vision.svc.cluster.local")
        expected = [service + suffix for service in services for suffix in suffixes]
        assert found.one("Certificate", name)["spec"]["dnsNames"] == expected
    tls = found.one("BackendTLSPolicy", "pbserve-inference")["spec"]["validation"]
    assert tls["hostname"] == "pbserve-inference.vision.svc"
    (scaler,) = found.of("ScaledObject")
    query = scaler["spec"]["triggers"][0]["metadata"]["query"]
    assert query.count('namespace="vision"') == query.count("namespace=") == 2


def test_without_the_transformer_names_would_stay_behind(tmp_path: Path) -> None:
    """What looks for them finds them."""
    production(("mtls",), tmp_path / "own")
    file = tmp_path / "own" / "kustomization.yaml"
    lines = file.read_text().splitlines()
    at = lines.index("transformers:")
    (tmp_path / "other").mkdir()
    for name in ("access.yaml", "models.yaml"):
        (tmp_path / "other" / name).write_text((tmp_path / "own" / name).read_text())
    without = [*lines[:at], *lines[at + 2 :]]
    (tmp_path / "other" / "kustomization.yaml").write_text("\n".join(without))
    assert list(old_names(build(tmp_path / "other")))


# --- what belongs to the cluster


def test_who_may_only_write_to_a_namespace_can_apply_the_base_and_all_components(
    tmp_path: Path,
) -> None:
    for component in COMPONENTS:
        if component == "namespace":
            continue
        found = production((component,), tmp_path / component)
        assert not {one["kind"] for one in found.objects} & CLUSTER_WIDE
    for one in build(K8S / "base").of("Deployment"):
        # Without a class of ours the API server takes the pod.
        assert "priorityClassName" not in one["spec"]["template"]["spec"]


def identities(found: Built) -> set[tuple[str, str, str]]:
    return {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
        for one in found.objects
    }


def test_a_second_installation_that_is_deleted_takes_nothing_from_the_first(
    tmp_path: Path,
) -> None:
    parts = ("namespace", "s3", "gpu", "mtls", "autoscale", "gateway", "priority", "monitoring")
    first = production(parts, tmp_path / "first", "vision")
    second = production(parts, tmp_path / "second", "speech")
    assert len(identities(first)) > 30
    assert not identities(first) & identities(second)


def classes() -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in build(K8S / "cluster").of("PriorityClass")}


def test_classes_are_applied_for_the_cluster_and_evict_nobody(tmp_path: Path) -> None:
    found = classes()
    assert {one["preemptionPolicy"] for one in found.values()} == {"Never"}
    assert found["pbserve-inference"]["value"] > found["pbserve-exporter"]["value"]
    # Above 10^9 is the system's own; a default would be everybody's.
    assert found["pbserve-inference"]["value"] < 10**9
    assert not any(one.get("globalDefault") for one in found.values())
    for container in containers(production(("priority",), tmp_path / "own")):
        assert container.pod["priorityClassName"] in found
        assert container.pod["priorityClassName"] == container.pod["serviceAccountName"]


# --- names that nobody owns


def test_nothing_that_we_write_can_be_pulled_or_read_from_somebody_else() -> None:
    for path in K8S.rglob("*.yaml"):
        text = path.read_text()
        for image in (line for line in text.splitlines() if "image:" in line):
            # RFC 2606: there never is a host below `.invalid`.
            assert image.split()[1].startswith("pbserve.invalid/"), path
        for scheme, nobodys in (("s3", "amzn-s3-demo-bucket"), ("gs", "YOUR-BUCKET")):
            for rest in text.split(f"{scheme}://")[1:]:
                assert rest.split("/")[0] == nobodys, path


def test_a_registry_that_asks_who_pulls_is_told(tmp_path: Path) -> None:
    accounts = list(production(("pull-secret",), tmp_path / "own").of("ServiceAccount"))
    assert len(accounts) == 2
    for one in accounts:
        assert one["imagePullSecrets"] == [{"name": "pbserve-registry"}]
