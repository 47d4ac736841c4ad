"""Who reaches whom: the network policies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.label_selectors import pod_labels, ports_of, selected
from tests.support.overlays import Built, Manifest, containers, overlay

COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
# A pod of somebody's who may call, of the kind that the policies and the documentation name.
CALLER = {"pbserve-client": "true"}


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


def exits(built: Built, pod: str) -> Iterator[tuple[str, int, Manifest]]:
    """Yields protocol, port and peer of everything that a pod may reach."""
    for spec in policies(built, pod, "Egress"):
        for rule in spec.get("egress", ()):
            assert rule["to"]
            for port, peer in itertools.product(rule["ports"], rule["to"]):
                yield port["protocol"], port["port"], peer


def test_pods_reach_dns_store_and_collector_and_nothing_else(deployed: Built) -> None:
    names = {("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353)}
    identities = {("TCP", port) for port in (80, 987, 988)}
    for pod in pod_labels(deployed):
        ports = {(protocol, port) for protocol, port, _ in exits(deployed, pod)}
        assert names <= ports
        (container,) = (c for c in containers(deployed) if c.name.endswith(pod[8:]))
        store = container.setting("store") or ""
        reaches = {("TCP", 443)} if "://" in store else set()
        if collector := container.environment.get(COLLECTOR):
            reaches.add(("TCP", urlsplit(collector).port or 0))
        if "workload-identity" in deployed.name or deployed.name == "gcs":
            reaches |= identities
        assert ports - names == reaches


def test_names_are_found_by_the_dns_of_each_kind_of_cluster(deployed: Built) -> None:
    for pod in pod_labels(deployed):
        peers: dict[int, list[Manifest]] = {port: [] for port in (53, 5353)}
        for protocol, port, peer in exits(deployed, pod):
            if protocol == "UDP":
                peers[port].append(peer)
        blocks = {one["ipBlock"]["cidr"] for one in peers[53] if "ipBlock" in one}
        # The cache on each node, and GKE's Cloud DNS.
        assert blocks == {"169.254.20.10/32", "169.254.169.254/32"}
        (kube,) = (one for one in peers[53] if "podSelector" in one)
        assert kube["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
        # A policy sees the port of the pod behind the service, which is another one on OpenShift.
        (openshift,) = peers[5353]
        assert openshift["namespaceSelector"]["matchLabels"] == {
            "kubernetes.io/metadata.name": "openshift-dns"
        }


def test_identities_of_the_clouds_are_where_they_answer() -> None:
    """Link-local addresses, which the policy for buckets leaves out."""
    built = overlay("gcs")
    addresses = {
        (peer["ipBlock"]["cidr"], port)
        for protocol, port, peer in exits(built, "pbserve-inference")
        if protocol == "TCP" and port in (80, 987, 988)
    }
    assert addresses == {
        # EKS Pod Identity's agent.
        ("169.254.170.23/32", 80),
        ("fd00:ec2::23/128", 80),
        # The metadata server of EC2, and of GKE with Dataplane V2.
        ("169.254.169.254/32", 80),
        ("fd00:ec2::254/128", 80),
        # GKE's without.
        ("169.254.169.252/32", 987),
        ("169.254.169.252/32", 988),
    }


@pytest.mark.parametrize("name", ["s3", "gcs"])
def test_a_bucket_is_read_without_keys_and_looked_at_every_ten_seconds(name: str) -> None:
    for container in containers(overlay(name)):
        (keys,) = (
            volume["secret"]
            for volume in container.volumes.values()
            if f"-{name}-" in volume.get("secret", {}).get("secretName", "")
        )
        assert keys["optional"] is True
        expected = "10" if container.program == "pbserve" else None
        assert container.setting("poll") == expected


def test_the_collector_is_where_traces_may_go(deployed: Built) -> None:
    for container in containers(deployed):
        if collector := container.environment.get(COLLECTOR):
            policy = deployed.one("NetworkPolicy", "pbserve-traces")["spec"]
            (rule,) = policy["egress"]
            (peer,) = rule["to"]
            (namespace,) = peer["namespaceSelector"]["matchLabels"].values()
            assert str(urlsplit(collector).hostname).split(".")[1:] == [namespace, "svc"]
