"""What is applied to a cluster: the folders below deploy/k8s, built by kubectl."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
K8S = ROOT / "deploy" / "k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")
OVERLAYS = tuple(sorted(folder.name for folder in (K8S / "overlays").iterdir()))
KSERVE = ("revisions", "polling")
COMPONENTS = tuple(sorted(folder.name for folder in (K8S / "components").iterdir()))
# What somebody might put together: no two of them exclude each other.
COMBINATIONS = (
    ("local-pvc", "gpu", "mtls", "autoscale", "gateway", "monitoring"),
    ("s3", "cpu", "mtls", "autoscale-cpu", "traces", "pull-secret", "priority"),
    ("s3", "workload-identity", "gpu", "gpu-mig", "autoscale"),
    ("gcs", "workload-identity", "gpu", "gpu-shared"),
)
STORES = ("local-pvc", "s3", "gcs")
# Written by people or by controllers, and named in docs/kubernetes.md.
BROUGHT = {
    "Secret": {
        "pbserve-inference-tls": {"tls.crt", "tls.key", "ca.crt"},
        "pbserve-exporter-tls": {"tls.crt", "tls.key", "ca.crt"},
        "pbserve-s3-inference": {"credentials"},
        "pbserve-s3-exporter": {"credentials"},
        "pbserve-gcs-inference": {"credentials.json"},
        "pbserve-gcs-exporter": {"credentials.json"},
        "pbserve-gateway-tls": {"tls.crt", "tls.key"},
    },
    "ConfigMap": {"pbserve-ca": {"ca.crt"}},
}
# What somebody brings in a folder of theirs, by the component that needs it.
ACCESS = """\
certificates:
  pbserve-client: [predict, read]
  release.example.com: [admin]
"""
MODELS = "models:\n  digits:\n    labels: {stable: 3}\n"
REGISTRY = "registry.example.com/team"
CONFIGS = {
    "s3": {
        "store": "s3://amzn-s3-demo-bucket/store",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_S3": "https://objects.example.com",
    },
    "gcs": {
        "store": "gs://YOUR-BUCKET/store",
        "GOOGLE_APPLICATION_CREDENTIALS": "/etc/pbserve/gcs/credentials.json",
    },
    "traces": {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://tempo.observability.svc:4317",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    },
}

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Built:
    """The objects of one folder."""

    name: str
    objects: tuple[Manifest, ...]

    def of(self, kind: str) -> Iterator[Manifest]:
        return (found for found in self.objects if found["kind"] == kind)

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = (found for found in self.of(kind) if found["metadata"]["name"] == name)
        return found

    def keys(self, kind: str, name: str) -> set[str]:
        """Returns the keys of a ConfigMap or Secret, here or brought by somebody."""
        for found in self.of(kind):
            if found["metadata"]["name"] == name:
                return set(found["data"])
        return BROUGHT[kind][name]

    def content(self, kind: str, name: str, key: str) -> str:
        """Returns what a key of a ConfigMap or Secret holds."""
        text = str(self.one(kind, name)["data"][key])
        return base64.b64decode(text).decode() if kind == "Secret" else text


@cache
def build(folder: Path) -> Built:
    """Returns the objects of a folder, as `kubectl apply -k` would send them."""
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Deprecated fields are told on standard error.
    assert done.stderr == ""
    return Built(folder.name, tuple(yaml.safe_load_all(done.stdout)))


def overlay(name: str) -> Built:
    return build(K8S / "overlays" / name)


def kserve(name: str) -> Built:
    return build(K8S / "kserve" / name)


def kserve_gpu(name: str, folder: Path) -> Built:
    """Returns one of KServe's with the component for GPUs, as docs/kubernetes.md shows it."""
    up = Path(*[".."] * (len(folder.resolve().parts) - 1)) / K8S.relative_to("/") / "kserve"
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(up / name)],
        "components": [str(up / "gpu")],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return build(folder)


def combined(components: Sequence[str], folder: Path, namespace: str = "pbserve") -> Built:
    """Returns what a folder of somebody's own builds, as docs/kubernetes.md shows it.

    Args:
        components: those that the folder lists; without a store, it lists `local-pvc` first.
        folder: a new one, gets the folder's files.
        namespace: where everything goes.
    """
    store = () if set(components) & set(STORES) else ("local-pvc",)
    # Kustomize takes relative paths only.
    base = Path(*[".."] * (len(folder.resolve().parts) - 1)) / K8S.relative_to("/")
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [str(base / "base")],
        "components": [str(base / "components" / name) for name in (*store, *components)],
        "transformers": [str(base / "names")],
        "images": [
            {"name": f"pbserve.invalid/{name}", "newName": f"{REGISTRY}/{name}"}
            for name in ("exporter", "inference")
        ],
        "secretGenerator": [_replaced("pbserve-access", "access.yaml")],
        "configMapGenerator": [
            _replaced("pbserve-models", "models.yaml"),
            *(
                {"name": f"pbserve-{name}", "literals": [f"{k}={v}" for k, v in config.items()]}
                for name, config in CONFIGS.items()
                if name in components
            ),
        ],
    }
    (folder / "access.yaml").write_text(ACCESS)
    (folder / "models.yaml").write_text(MODELS)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return build(folder)


def _replaced(name: str, file: str) -> Manifest:
    options = {"disableNameSuffixHash": True}
    return {"name": name, "behavior": "replace", "files": [file], "options": options}


@dataclass(frozen=True)
class Container:
    """A container of ours, its pod and the folder that it is from."""

    built: Built
    name: str
    container: Manifest
    pod: Manifest

    @property
    def program(self) -> str:
        return str(self.container["command"][0])

    @property
    def environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", ()):
            found |= self.built.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return found | {
            entry["name"]: self._value(entry) for entry in self.container.get("env", ())
        }

    def _value(self, entry: Manifest) -> str:
        if "value" in entry:
            return str(entry["value"])
        reference = entry["valueFrom"]["configMapKeyRef"]
        return self.built.content("ConfigMap", reference["name"], reference["key"])

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(self.container.get("args", ()))

    def setting(self, name: str) -> str | None:
        """Returns what an option is set to, by argument or variable."""
        prefix = {"pbserve": "PBSERVE", "pbexport": "PBEXPORT"}[self.program]
        option = "--" + name.replace("_", "-")
        given = [a.partition("=")[2] for a in self.arguments if a.partition("=")[0] == option]
        return given[-1] if given else self.environment.get(f"{prefix}_{name.upper()}")

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def probes(self) -> dict[str, Manifest]:
        names = ("startupProbe", "livenessProbe", "readinessProbe")
        return {name: self.container[name] for name in names if name in self.container}

    @property
    def volumes(self) -> dict[str, Manifest]:
        return {volume["name"]: volume for volume in self.pod.get("volumes", ())}

    @property
    def mounts(self) -> dict[str, Manifest]:
        return {mount["mountPath"]: mount for mount in self.container.get("volumeMounts", ())}


def containers(built: Built) -> Iterator[Container]:
    """Yields our containers: of Deployments, and what KServe makes of a runtime and a service."""
    for deployment in built.of("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        for container in pod["containers"]:
            name = f"{built.name}-{container['name']}"
            yield Container(built, name, container, pod)
    for service in built.of("InferenceService"):
        yield _of_kserve(built, service)


def _of_kserve(built: Built, service: Manifest) -> Container:
    """Merges as KServe does: the service's arguments after the runtime's, lists by their names."""
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    runtime = built.one("ServingRuntime", model["runtime"])["spec"]
    (container,) = runtime["containers"]
    merged = {
        **container,
        "args": [*container["args"], *model.get("args", ())],
        "env": [*container.get("env", ()), *model.get("env", ())],
        "volumeMounts": [*container["volumeMounts"], *model.get("volumeMounts", ())],
    }
    pod = {
        "containers": [merged],
        "volumes": [*runtime["volumes"], *predictor.get("volumes", ())],
        "automountServiceAccountToken": predictor["automountServiceAccountToken"],
    }
    return Container(built, f"kserve-{built.name}", merged, pod)
