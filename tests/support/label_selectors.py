"""Which pods the selectors of objects find."""

from __future__ import annotations

from tests.support.overlays import Built, Manifest


def _selects(selector: Manifest, labels: Manifest) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def pod_labels(built: Built) -> dict[str, dict[str, str]]:
    """Returns the labels of each Deployment's pods."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in built.of("Deployment")
    }


def ports_of(built: Built, deployment: str) -> dict[str, int]:
    """Returns the ports that a Deployment's containers declare, by their names."""
    pod = built.one("Deployment", deployment)["spec"]["template"]["spec"]
    return {p["name"]: p["containerPort"] for c in pod["containers"] for p in c["ports"]}


def selected(built: Built, selector: Manifest) -> list[str]:
    """Returns the Deployments whose pods a selector finds."""
    return [name for name, labels in pod_labels(built).items() if _selects(selector, labels)]
