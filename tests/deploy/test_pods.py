"""How pods run, start and end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from service_kit.server.health import LIVE, OVERALL
from tests.support.overlays import (
    KSERVE,
    Built,
    Container,
    Manifest,
    combined,
    containers,
    kserve,
    kserve_gpu,
    overlay,
)

USER = 10001
# Seconds that the program may still take when its calls are over: cards, engines, interpreter.
TO_FREE = 5
# The longest that docs/kubernetes.md has, on a crowded machine: seconds from the start of a process
# to its open port, and until a DenseNet-169 with two cards was warmed.
TO_OPEN = 10.7
TO_LOAD = 152


def test_containers_are_confined(built: Built) -> None:
    for container in containers(built):
        context = {
            **container.pod.get("securityContext", {}),
            **container.container["securityContext"],
        }
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == USER
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container.pod["automountServiceAccountToken"] is False
        # Files of volumes belong to this group; KServe sets it by itself.
        assert context.get("fsGroup", USER) == USER


def test_the_namespace_takes_confined_pods_only() -> None:
    labels = overlay("dev").one("Namespace", "pbserve")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nobody_gets_a_token_of_the_api_server(deployed: Built) -> None:
    for found in deployed.of("ServiceAccount"):
        assert found["automountServiceAccountToken"] is False
    for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        assert not list(deployed.of(kind))


def test_variables_of_services_do_not_become_settings(deployed: Built) -> None:
    for container in containers(deployed):
        assert container.pod["enableServiceLinks"] is False


def mebibytes(text: str) -> int:
    number, unit = re.fullmatch(r"([0-9]+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "Gi" else 1)


def test_resources_are_asked_for_and_bounded(built: Built) -> None:
    for container in containers(built):
        resources = container.container["resources"]
        for name in ("cpu", "memory"):
            assert resources["requests"][name]
            # The server counts its lanes by the limit of the CPU.
            assert resources["limits"][name]
        asked, most = (mebibytes(resources[k]["memory"]) for k in ("requests", "limits"))
        assert asked <= most


def test_temporary_files_fit_what_a_pod_may_write(deployed: Built) -> None:
    for container in containers(deployed):
        most = mebibytes(container.container["resources"]["limits"]["ephemeral-storage"])
        volumes = [
            v["emptyDir"]["sizeLimit"] for v in container.volumes.values() if "emptyDir" in v
        ]
        assert sum(map(mebibytes, volumes)) <= most


def test_a_conversion_fits_the_containers_memory(deployed: Built) -> None:
    for container in containers(deployed):
        if megabytes := container.setting("worker_memory"):
            workers = int(container.setting("workers") or 1)
            most = mebibytes(container.container["resources"]["limits"]["memory"])
            # The server, and a process that waits with TensorFlow loaded.
            assert workers * int(megabytes) + 1024 <= most


def test_clients_of_what_is_scaled_connect_anew(deployed: Built) -> None:
    """Else those that are connected stay where they are, and a new pod gets nothing to do."""
    scaled = any(
        True for kind in ("ScaledObject", "HorizontalPodAutoscaler") for _ in deployed.of(kind)
    )
    for container in containers(deployed):
        if container.program == "pbserve":
            seconds = container.setting("max_connection_age")
            assert (seconds is not None) is scaled
            assert seconds is None or 300 <= float(seconds) <= 600


# --- start


def budget(probe: Manifest) -> int:
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def test_start_and_life_do_not_depend_on_models(built: Built) -> None:
    for container in containers(built):
        for name, probe in container.probes.items():
            expected = OVERALL if name == "readinessProbe" else LIVE
            assert probe["grpc"].get("service", "") == expected


def test_the_budget_to_start_covers_what_was_measured(built: Built) -> None:
    for container in containers(built):
        startup = container.probes.get("startupProbe")
        live = container.probes["livenessProbe"]
        patience = budget(startup) if startup else live["initialDelaySeconds"] + budget(live)
        # Nodes that are ten times slower start, too. Models load after that, and may take longer.
        assert patience >= 10 * TO_OPEN
        assert budget(live) >= 30


def test_a_rollout_waits_for_models_to_load(deployed: Built) -> None:
    inference = deployed.one("Deployment", "pbserve-inference")["spec"]
    assert inference["progressDeadlineSeconds"] >= 5 * TO_LOAD
    assert inference["minReadySeconds"] > 0


# --- end


def seconds_of_pre_stop(container: Container) -> int:
    if "lifecycle" not in container.container:
        return 0
    program, seconds = container.container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "/bin/sleep"
    return int(seconds)


def test_the_end_fits_the_time_that_a_pod_is_given(deployed: Built) -> None:
    for container in containers(deployed):
        drain = float(container.setting("lame_duck") or 0) + float(container.setting("grace") or 0)
        needed = seconds_of_pre_stop(container) + drain + TO_FREE
        assert needed <= container.pod["terminationGracePeriodSeconds"]


def test_balancers_have_time_to_see_that_a_pod_ends(built: Built) -> None:
    for container in containers(built):
        readiness = container.probes["readinessProbe"]
        told = seconds_of_pre_stop(container) + float(container.setting("lame_duck") or 0)
        assert told >= readiness["periodSeconds"]
        assert float(container.setting("grace") or 0) >= 10


def test_replicas_are_spread_and_drained_one_by_one(deployed: Built) -> None:
    spread = deployed.one("Deployment", "pbserve-inference")["spec"]["template"]["spec"]
    keys = [one["topologyKey"] for one in spread["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for found in deployed.of("PodDisruptionBudget"):
        # A share would round to nothing with one replica, and hold up every drain.
        assert found["spec"]["maxUnavailable"] == 1


def test_what_can_be_lost_keeps_no_node_from_being_scaled_down(deployed: Built) -> None:
    """Without the annotation the cluster autoscaler leaves a node with an emptyDir alone."""
    for found in deployed.of("Deployment"):
        template = found["spec"]["template"]
        told = template["metadata"]["annotations"][
            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
        ]
        local = {v["name"] for v in template["spec"]["volumes"] if "emptyDir" in v}
        assert set(told.split(",")) == local


# --- GPUs


def inference_pod(built: Built) -> Any:
    return built.one("Deployment", "pbserve-inference")["spec"]


def test_a_pod_with_a_gpu_asks_for_it_and_goes_where_there_is_one() -> None:
    found = inference_pod(overlay("gpu"))
    pod = found["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    # What is not overcommitted is asked for by its limit.
    assert "nvidia.com/gpu" not in container["resources"]["requests"]
    (toleration,) = pod["tolerations"]
    assert toleration == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    # A cluster without GPU feature discovery has no node with the label.
    affinity = pod["affinity"]["nodeAffinity"]
    assert list(affinity) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    ((expression,),) = [
        term["preference"]["matchExpressions"] for term in affinity[next(iter(affinity))]
    ]
    assert expression == {"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]}


@pytest.mark.parametrize(
    ("component", "resource"),
    [("gpu-mig", "nvidia.com/mig-1g.10gb"), ("gpu-shared", "nvidia.com/gpu.shared")],
)
def test_a_part_of_a_gpu_takes_the_place_of_a_whole_one(
    component: str, resource: str, tmp_path: Path
) -> None:
    (container,) = inference_pod(combined(("gpu", component), tmp_path))["template"]["spec"][
        "containers"
    ]
    extended = {name for name in container["resources"]["limits"] if "/" in name}
    assert extended == {resource}
    # Nothing else divides the memory of a GPU that several pods use in turns.
    names = {entry["name"] for entry in container["env"]}
    assert ("PBSERVE_GPU_MEMORY_MB" in names) is (component == "gpu-shared")


def test_a_rollout_on_gpus_needs_none_to_spare() -> None:
    assert inference_pod(overlay("gpu"))["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }
    # Where there is room, the new pod is ready before an old one goes.
    assert inference_pod(overlay("cpu"))["strategy"]["rollingUpdate"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
    }


def test_only_the_gpu_overlay_needs_gpus(deployed: Built) -> None:
    limits = inference_pod(deployed)["template"]["spec"]["containers"][0]["resources"]["limits"]
    named = [name for name in limits if name.startswith("nvidia.com/")]
    assert len(named) == ("gpu" in deployed.name.split("+"))


def test_cpu_pods_have_their_cores_for_themselves() -> None:
    resources = inference_pod(overlay("cpu"))["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {**resources["limits"], "ephemeral-storage": "1Gi"}
    assert resources["limits"]["cpu"].isdigit()


# --- KServe


def test_kserve_goes_down_to_nothing_and_moves_traffic_by_the_percentage() -> None:
    (found,) = kserve("revisions").of("InferenceService")
    predictor = found["spec"]["predictor"]
    assert found["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    assert predictor["minReplicas"] == 0
    assert 0 < predictor["canaryTrafficPercent"] < 100


def enforced(built: Built) -> str:
    (namespace,) = built.of("Namespace")
    return str(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])


def test_a_revision_is_where_the_container_that_fetches_it_may_run() -> None:
    """KServe's has no security context, which only the level `restricted` asks for."""
    built = kserve("revisions")
    (found,) = built.of("InferenceService")
    assert found["spec"]["predictor"]["storageUris"]
    assert enforced(built) == "baseline"
    (namespace,) = built.of("Namespace")
    assert found["metadata"]["namespace"] == namespace["metadata"]["name"] != "pbserve"
    # Who fetches is somebody that can be given a role.
    account = built.one("ServiceAccount", found["spec"]["predictor"]["serviceAccountName"])
    assert account["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_kserve_is_told_which_autoscaler_it_has() -> None:
    for name, key, value in (
        ("revisions", "autoscaling.knative.dev/class", "kpa.autoscaling.knative.dev"),
        ("polling", "serving.kserve.io/autoscalerClass", "hpa"),
    ):
        (found,) = kserve(name).of("InferenceService")
        assert found["metadata"]["annotations"][key] == value


@pytest.mark.parametrize("name", KSERVE)
def test_kserve_has_a_runtime_with_a_gpu(name: str, tmp_path: Path) -> None:
    built = kserve_gpu(name, tmp_path)
    runtime = built.one("ServingRuntime", "pbserve")["spec"]
    (container,) = runtime["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].endswith("-gpu")
    assert runtime["tolerations"][0]["key"] == "nvidia.com/gpu"
    (found,) = built.of("InferenceService")
    # The CPU says little there.
    assert found["metadata"]["annotations"].get("serving.kserve.io/autoscalerClass") != "hpa"
    assert found["spec"]["predictor"].get("scaleMetric") != "cpu"


def test_a_revision_of_kserve_has_one_version_where_the_program_looks_for_it() -> None:
    built = kserve("revisions")
    (container,) = containers(built)
    (found,) = built.of("InferenceService")
    (storage,) = found["spec"]["predictor"]["storageUris"]
    model, version = storage["mountPath"].removeprefix(f"{container.setting('store')}/").split("/")
    assert storage["uri"].endswith(f"/{model}/{version}")
    assert version.isdigit()
    assert {"--no-watch", "--strict-readiness"} <= set(container.arguments)


def test_with_our_own_polling_a_pod_is_always_there_to_swap() -> None:
    built = kserve("polling")
    (container,) = containers(built)
    (found,) = built.of("InferenceService")
    assert found["spec"]["predictor"]["minReplicas"] >= 1
    assert "storageUris" not in found["spec"]["predictor"]
    assert "--no-watch" not in container.arguments
    assert container.setting("store") == containers_store()


def containers_store() -> str | None:
    (inference,) = (c for c in containers(overlay("local-pvc")) if c.program == "pbserve")
    return inference.setting("store")


@pytest.mark.parametrize("name", ["revisions", "polling"])
def test_kserve_finds_its_container_and_the_port_for_grpc(name: str) -> None:
    (container,) = containers(kserve(name))
    assert container.container["name"] == "kserve-container"
    assert list(container.ports) == ["h2c"]
    runtime = kserve(name).one("ServingRuntime", "pbserve")["spec"]
    assert runtime["protocolVersions"] == ["grpc-v2"]
