"""The programs take what the manifests give them: commands, arguments, variables, probes."""

from __future__ import annotations

import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import exporter_service.cli.app
import inference_service.cli.app
from service_kit.server.health import LIVE
from tests.support import confinement
from tests.support.overlays import (
    COMBINATIONS,
    KSERVE,
    OVERLAYS,
    Built,
    Container,
    combined,
    containers,
    kserve,
    overlay,
)
from tests.support.pods import Pod, running_pod

pytestmark = pytest.mark.slow

APPS: dict[str, typer.Typer] = {
    "pbserve": inference_service.cli.app.app,
    "pbexport": exporter_service.cli.app.app,
}
# Of libraries: botocore's, for the object store, and OpenTelemetry's.
OTHERS = {
    # A key of the ConfigMap that has the variables, too.
    "store",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_SHARED_CREDENTIALS_FILE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}


@cache
def variables(program: str) -> set[str]:
    """Returns the variables that `PROGRAM serve` reads."""
    command: Any = typer.main.get_command(APPS[program])
    return {option.envvar for option in command.commands["serve"].params if option.envvar}


def different() -> list[Container]:
    """Returns containers of all folders that are not told the same."""
    found: dict[tuple[Any, ...], Container] = {}
    for built in (*map(overlay, OVERLAYS), *map(kserve, KSERVE)):
        for container in containers(built):
            told = (container.arguments, *sorted(container.environment.items()))
            found.setdefault((container.program, *told), container)
    return list(found.values())


DIFFERENT = different()


def of(name: str) -> Container:
    return next(container for container in DIFFERENT if container.name == name)


def test_every_variable_is_one_that_the_program_reads(built: Built) -> None:
    for container in containers(built):
        assert set(container.environment) <= variables(container.program) | OTHERS


@pytest.mark.parametrize("container", DIFFERENT, ids=lambda found: str(found.name))
def test_the_program_starts_and_answers_its_probes(container: Container, tmp_path: Path) -> None:
    with running_pod(container, tmp_path) as pod:
        for probe in container.probes:
            while pod.health(probe) == "NOT_SERVING":
                assert probe == "readinessProbe"
            assert pod.health(probe) == "SERVING"
        os.kill(pod.process.pid, signal.SIGTERM)
        seconds = container.pod.get("terminationGracePeriodSeconds", 60)
        assert pod.process.wait(min(seconds, 60)) == 0
    assert "Traceback" not in pod.log.read_text()


@pytest.mark.parametrize("parts", COMBINATIONS, ids="+".join)
def test_all_components_at_once_start_too(parts: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "combined"
    folder.mkdir()
    for container in containers(combined(parts, folder)):
        place = tmp_path / container.program
        place.mkdir()
        with running_pod(container, place) as pod:
            assert pod.health("livenessProbe") == "SERVING"
            pod.process.kill()


@pytest.mark.skipif(not confinement.possible(), reason="needs root and mount namespaces")
def test_programs_here_are_confined_as_in_a_pod(tmp_path: Path) -> None:
    """What the other tests show holds for the user, and the root, that the manifests ask for."""
    container = of("autoscale-exporter")
    assert container.pod["securityContext"]["runAsUser"] == confinement.USER
    with running_pod(container, tmp_path) as pod:
        status = Path(f"/proc/{pod.process.pid}/status").read_text()
        mounts = Path(f"/proc/{pod.process.pid}/mountinfo").read_text().splitlines()
    assert f"Uid:\t{confinement.USER}\t{confinement.USER}" in status
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    (options,) = (line.split()[5] for line in mounts if line.split()[4] == "/")
    assert "ro" in options.split(",")


@pytest.mark.skipif(not confinement.possible(), reason="needs root and mount namespaces")
def test_a_volume_that_belongs_to_root_says_whom_it_should_let_in(tmp_path: Path) -> None:
    """As a file server's: `fsGroup` does not reach it."""
    container = of("autoscale-exporter")
    # In the volume, which is mounted to be written.
    closed = tmp_path / "store" / "of-root"
    closed.mkdir(parents=True)
    words = f"let user {confinement.USER}, group {confinement.USER}, use the folder"
    with pytest.raises(AssertionError, match=words), running_pod(container, tmp_path, closed / "m"):
        pass


def test_a_plain_port_is_open_to_others_only_because_the_manifests_say_so(tmp_path: Path) -> None:
    container = of("dev-inference")
    entries = [e for e in container.container["env"] if e["name"] != "PBSERVE_INSECURE"]
    silent = replace(container, container={**container.container, "env": entries})
    with pytest.raises(AssertionError, match="insecure"), running_pod(silent, tmp_path):
        pass


def test_a_pod_lives_on_when_its_models_do_not_load(tmp_path: Path) -> None:
    """Liveness does not depend on models: what another start cannot mend is not restarted."""
    store = tmp_path / "damaged"
    version = store / "m" / "1"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text("{")
    strict = of("kserve-revisions")
    with running_pod(strict, tmp_path, store) as pod:
        assert pod.health("livenessProbe") == "SERVING"
        assert pod.health("readinessProbe") == "NOT_SERVING"


def test_a_pod_lives_on_without_its_store(tmp_path: Path) -> None:
    with running_pod(of("dev-inference"), tmp_path, tmp_path / "gone") as pod:
        assert pod.health("startupProbe") == "SERVING"
        assert pod.health("livenessProbe") == "SERVING"


def test_the_port_for_probes_answers_nothing_but_health(tmp_path: Path) -> None:
    container = of("autoscale-inference")
    with running_pod(container, tmp_path) as pod:
        with grpc.insecure_channel(pod.address("health")) as channel:
            ask: Any = channel.unary_unary("/pbserve.inference.v1.InferenceService/ListModels")
            with pytest.raises(grpc.RpcError) as refused:
                ask(b"", timeout=10, wait_for_ready=True)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with grpc.insecure_channel(pod.address("grpc")) as channel:
            ask = channel.unary_unary("/pbserve.inference.v1.InferenceService/ListModels")
            with pytest.raises(grpc.RpcError) as refused:
                ask(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def over_http(pod: Pod, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{pod.address('metrics')}{path}", timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except urllib.error.URLError:
        return 0, "the port is not open"


def test_the_scaler_asks_for_a_metric_that_the_program_has(tmp_path: Path) -> None:
    (scaler,) = overlay("autoscale").of("ScaledObject")
    query = scaler["spec"]["triggers"][0]["metadata"]["query"]
    names = re.findall(r"\b(pbserve_[a-z_]+)\{", query)
    with running_pod(of("autoscale-inference"), tmp_path) as pod:
        status, text = over_http(pod, "/metrics")
    assert status == 200
    histogram, ready = names
    assert f"# TYPE {histogram.removesuffix('_sum')} histogram" in text
    # Without a model there is no queue; what the query falls back to is there all the same.
    assert re.search(rf"^{ready} [01]", text, re.MULTILINE)


def test_the_page_that_asks_for_no_token_is_there_on_ones_own_machine_only(tmp_path: Path) -> None:
    for name in ("autoscale", "dev"):
        (tmp_path / name).mkdir()
        with running_pod(of(f"{name}-inference"), tmp_path / name) as pod:
            status, _ = over_http(pod, "/")
            assert (status == 200) is (name == "dev")


def list_models(pod: Pod, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    with grpc.secure_channel(pod.address("grpc"), credentials) as channel:
        ask: Any = channel.unary_unary("/pbserve.inference.v1.InferenceService/ListModels")
        try:
            ask(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_nobody_may_do_anything_before_somebody_says_so(tmp_path: Path) -> None:
    with running_pod(of("autoscale-inference"), tmp_path) as pod:
        assert list_models(pod, pod.tls_credentials()) is grpc.StatusCode.UNAUTHENTICATED


def test_with_certificates_the_named_client_is_let_in_and_no_other(tmp_path: Path) -> None:
    with running_pod(of("mtls-inference"), tmp_path) as pod:
        assert list_models(pod, pod.tls_credentials("pbserve-client")) is grpc.StatusCode.OK
        others = list_models(pod, pod.tls_credentials("somebody"))
        assert others in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        assert list_models(pod, pod.tls_credentials()) is grpc.StatusCode.UNAVAILABLE


def test_the_exporter_knows_the_same_client_and_converts_nothing_for_it(tmp_path: Path) -> None:
    with (
        running_pod(of("mtls-exporter"), tmp_path) as pod,
        grpc.secure_channel(pod.address("grpc"), pod.tls_credentials("pbserve-client")) as channel,
    ):
        call: Callable[..., Any] = channel.unary_stream(
            "/pbserve.exporter.v1.ExporterService/ConvertCheckpoint"
        )
        with pytest.raises(grpc.RpcError) as refused:
            list(call(b"", timeout=10))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def routed() -> set[tuple[str, str]]:
    return {
        (match["method"]["service"], match["method"]["method"])
        for route in overlay("gateway").of("GRPCRoute")
        for rule in route["spec"]["rules"]
        for match in rule.get("matches", ())
    }


def test_routes_name_calls_that_the_server_has_with_one_message_each_way(tmp_path: Path) -> None:
    with (
        running_pod(of("dev-inference"), tmp_path) as pod,
        grpc.insecure_channel(pod.address("grpc")) as channel,
    ):
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        for service, method in routed():
            found = pool.FindServiceByName(service).FindMethodByName(method)
            assert (found.client_streaming, found.server_streaming) == (False, False)


def test_health_over_the_services_own_port_is_open_to_all(tmp_path: Path) -> None:
    """Gateways and clients that watch health need no token for it."""
    with (
        running_pod(of("autoscale-inference"), tmp_path) as pod,
        grpc.secure_channel(pod.address("grpc"), pod.tls_credentials()) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=LIVE), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
