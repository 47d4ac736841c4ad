"""Every object is what its API takes, in Kubernetes of several ages."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import latest_version

from tests.support.overlays import (
    KSERVE,
    ROOT,
    Built,
    Manifest,
    containers,
    kserve,
    overlay,
)

SCHEMAS = Path(__file__).parent / "schemas"
VERSIONS = ("1.29", "1.32", latest_version())
# `kubernetes-validate` looks at the first word of a group only.
GROUPS = {
    "v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1", "scheduling.k8s.io/v1",
}  # fmt: skip

# The checkers' own, and a kind of which none knows.
REFUSALS = (
    jsonschema.ValidationError,
    kubernetes_validate.ValidationError,
    kubernetes_validate.SchemaNotFoundError,
    FileNotFoundError,
)


@cache
def strictly_valid(text: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def check(found: Manifest, version: str) -> None:
    """Raises when an object is not valid, or when nothing is known of its kind."""
    if found["apiVersion"] in GROUPS:
        strictly_valid(json.dumps(found, sort_keys=True), version)
        return
    name = f"{found['apiVersion'].replace('/', '_')}_{found['kind']}.yaml"
    schema = yaml.safe_load((SCHEMAS / name).read_text())
    jsonschema.Draft202012Validator(schema).validate(found["spec"])
    if extra := found.keys() - {"apiVersion", "kind", "metadata", "spec"}:
        raise jsonschema.ValidationError(f"{sorted(extra)} is nothing to apply")
    # The metadata of all kinds are those of a ConfigMap.
    carrier = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": found["metadata"]}
    strictly_valid(json.dumps(carrier, sort_keys=True), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(built: Built, version: str) -> None:
    for found in built.objects:
        check(found, version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["revisions", "polling"])
def test_what_kserve_makes_is_a_valid_pod(name: str, version: str) -> None:
    (container,) = containers(kserve(name))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": container.pod}
    check(pod, version)


def test_groups_of_rules_have_a_name_each() -> None:
    """The list is a map by the name: of two groups of one name, the server takes none."""
    (found,) = overlay("monitoring").of("PrometheusRule")
    names = [group["name"] for group in found["spec"]["groups"]]
    assert len(set(names)) == len(names) > 1


def test_listeners_of_a_gateway_have_a_name_and_a_port_each() -> None:
    for found in overlay("gateway").of("Gateway"):
        listeners = found["spec"]["listeners"]
        assert len({one["name"] for one in listeners}) == len(listeners)
        assert len({(one["port"], one.get("hostname")) for one in listeners}) == len(listeners)


def test_kserve_takes_the_annotations_and_what_goes_with_them() -> None:
    """Its webhook's words, after pkg/constants/constants.go of KServe 0.16."""
    for name in KSERVE:
        for found in kserve(name).of("InferenceService"):
            told = found["metadata"]["annotations"]
            mode = told["serving.kserve.io/deploymentMode"]
            assert mode in {"Knative", "Standard"}
            metric = found["spec"]["predictor"]["scaleMetric"]
            if mode == "Knative":
                assert metric in {"concurrency", "rps"}
                assert "serving.kserve.io/autoscalerClass" not in told
            else:
                scalers = {"hpa", "keda", "external", "none"}
                assert told["serving.kserve.io/autoscalerClass"] in scalers
                assert metric in {"cpu", "memory"}


def test_the_pod_monitors_are_valid_and_find_our_pods_and_ports() -> None:
    pods = {
        (name, port)
        for container in containers(overlay("local-pvc"))
        for name in [container.container["name"]]
        for port in container.ports
    }
    for path in (ROOT / "deploy").rglob("*.yaml"):
        for found in yaml.safe_load_all(path.read_text()):
            if isinstance(found, dict) and found.get("kind") == "PodMonitor":
                check(found, VERSIONS[-1])
                labels = found["spec"]["selector"]["matchLabels"]
                assert labels["app.kubernetes.io/name"] == "pbserve"
                component = labels.get("app.kubernetes.io/component")
                for endpoint in found["spec"]["podMetricsEndpoints"]:
                    named = {port for name, port in pods if component in (None, name)}
                    assert endpoint["port"] in named


def broken(found: Manifest, *path: str | int, **changes: Any) -> Manifest:
    copy: Any = deepcopy(found)
    at = copy
    for step in path:
        at = at[step]
    at.update(changes)
    return dict(copy)


@pytest.mark.parametrize(
    ("kind", "name", "path", "changes"),
    [
        ("Deployment", "pbserve-inference", ("spec",), {"replica": 3}),
        ("Deployment", "pbserve-inference", ("spec",), {"replicas": "3"}),
        ("Certificate", "pbserve-client", ("spec",), {"usages": ["client_auth"]}),
        ("Issuer", "pbserve", ("spec",), {"selfSigned": {}}),
        (
            "ScaledObject",
            "pbserve-inference",
            ("spec", "triggers", 0, "metadata"),
            {"threshold": 4},
        ),
        ("Gateway", "pbserve", ("spec", "listeners", 0), {"protocol": "GRPC"}),
        ("GRPCRoute", "pbserve", ("spec", "rules", 0), {"retry": {"attempts": 2}}),
        ("BackendTLSPolicy", "pbserve-inference", ("spec", "validation"), {"hostname": 5}),
        ("BackendTrafficPolicy", "pbserve", ("spec", "retry"), {"numRetries": -1}),
        (
            "Gateway",
            "pbserve",
            ("spec", "listeners", 0, "allowedRoutes", "namespaces"),
            {"from": "None"},
        ),
        ("Gateway", "pbserve", ("spec", "listeners", 0), {"protocol": "TCP"}),
        ("Gateway", "pbserve", ("spec", "listeners", 0), {"tls": {"mode": "Passthrough"}}),
        ("Gateway", "pbserve", ("spec", "listeners", 0, "tls"), {"certificateRefs": []}),
        ("ClientTrafficPolicy", "pbserve", ("spec", "connection"), {"bufferLimit": "0.5Mi"}),
        ("ClientTrafficPolicy", "pbserve", ("spec", "http2"), {"initialStreamWindowSize": 0}),
        ("ClientTrafficPolicy", "pbserve", ("spec", "targetRefs", 0), {"kind": "GRPCRoute"}),
        ("BackendTLSPolicy", "pbserve-inference", ("spec", "validation"), {"hostname": "*.a"}),
        (
            "BackendTLSPolicy",
            "pbserve-inference",
            ("spec", "validation"),
            {"wellKnownCACertificates": "System"},
        ),
        ("Certificate", "pbserve-client", ("spec", "privateKey"), {"size": 2048}),
        ("Certificate", "pbserve-authority", ("spec", "privateKey"), {"rotationPolicy": "never"}),
        ("PodMonitor", "pbserve", ("spec", "podMetricsEndpoints", 0), {"interval": "15 s"}),
        (
            "PodMonitor",
            "pbserve",
            ("spec", "podMetricsEndpoints", 0, "relabelings", 0),
            {"action": "set"},
        ),
        ("PrometheusRule", "pbserve", ("spec", "groups", 0, "rules", 0), {"for": "5m"}),
        ("PrometheusRule", "pbserve", ("spec", "groups", 1, "rules", 0), {"for": "5 minutes"}),
        ("GRPCRoute", "pbserve", (), {"status": {}}),
        ("GRPCRoute", "pbserve", ("metadata",), {"label": {}}),
        ("GRPCRoute", "pbserve", (), {"kind": "GrpcRoute"}),
        ("Deployment", "pbserve-inference", (), {"kind": "Deploiment"}),
        ("Deployment", "pbserve-inference", (), {"apiVersion": "apps.example.com/v1"}),
    ],
)
def test_the_check_sees_mistakes(
    kind: str, name: str, path: tuple[str | int, ...], changes: dict[str, Any]
) -> None:
    found = next(
        found
        for folder in ("mtls", "autoscale", "gateway", "monitoring")
        for found in overlay(folder).of(kind)
        if found["metadata"]["name"] == name
    )
    check(found, VERSIONS[-1])
    with pytest.raises(REFUSALS):
        check(broken(found, *path, **changes), VERSIONS[-1])


@pytest.mark.parametrize("kind", ["ServingRuntime", "InferenceService"])
def test_the_check_of_kserve_sees_mistakes(kind: str) -> None:
    (found,) = kserve("revisions").of(kind)
    check(found, VERSIONS[-1])
    with pytest.raises(REFUSALS):
        check(broken(found, "spec", protocolVersion="grpc"), VERSIONS[-1])
