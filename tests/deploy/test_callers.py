"""What stands between callers and pods: certificates, scalers, the gateway's routes."""

from __future__ import annotations

from collections import Counter

import yaml

from tests.support.label_selectors import pod_labels
from tests.support.overlays import Built, overlay


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


def test_routes_lead_from_the_gateway_to_services(deployed: Built) -> None:
    for found in deployed.of("GRPCRoute"):
        for parent in found["spec"]["parentRefs"]:
            gateway = deployed.one("Gateway", parent["name"])
            (listener,) = (
                one for one in gateway["spec"]["listeners"] if one["name"] == parent["sectionName"]
            )
            # Theirs is the listener's: one place to change.
            assert "hostnames" not in found["spec"]
            assert listener["hostname"]
        for rule in found["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                service = deployed.one("Service", backend["name"])
                assert backend["port"] in [port["port"] for port in service["spec"]["ports"]]
    for kind in ("BackendTrafficPolicy", "ClientTrafficPolicy", "BackendTLSPolicy"):
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


def test_a_prediction_has_a_minute_and_an_image_can_be_sent_again() -> None:
    """Envoy's own are 15 s, and 32 KiB (64 over HTTP/2)."""
    found = overlay("gateway")
    timeouts = {
        policy["spec"]["targetRefs"][0]["name"]: policy["spec"]["timeout"]["http"]["requestTimeout"]
        for policy in found.of("BackendTrafficPolicy")
    }
    assert timeouts == {"pbserve-predict": "60s", "pbserve": "0s"}
    (policy,) = found.of("ClientTrafficPolicy")
    kept, window = policy["spec"]["connection"]["bufferLimit"], policy["spec"]["http2"]
    assert kept == window["initialStreamWindowSize"] == "4Mi"
    # An image of 512 x 512 floats.
    assert 4 * 2**20 > 512 * 512 * 3 * 4
    assert window["initialConnectionWindowSize"] == "16Mi"


def test_an_authority_keeps_its_key() -> None:
    """Certificates of a renewed authority are worth something to who has the old one."""
    found = overlay("mtls")
    policies = {
        bool(one["spec"].get("isCA")): one["spec"]["privateKey"]["rotationPolicy"]
        for one in found.of("Certificate")
    }
    assert policies == {True: "Never", False: "Always"}
