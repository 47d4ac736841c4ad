"""Writes rules and alerts as the object that the Prometheus operator takes: `make alerts`."""

from __future__ import annotations

import textwrap
from pathlib import Path

_HERE = Path(__file__).parent
FILE = _HERE.parent / "k8s" / "components" / "monitoring" / "rules.yaml"
_SOURCES = ("rules.yml", "alerts.yml")
_HEAD = """\
# Made by `make alerts` of deploy/observability/rules.yml and alerts.yml: change those.
# `release` is what kube-prometheus-stack looks for: the name of its Helm release.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pbserve
  namespace: pbserve
  labels:
    app.kubernetes.io/name: pbserve
    release: kube-prometheus-stack
spec:
  groups:
"""


def rendered() -> str:
    """Returns the object, with the groups of both files and their comments."""
    groups = [(_HERE / name).read_text().partition("groups:\n")[2] for name in _SOURCES]
    return _HEAD + textwrap.indent("".join(groups), "  ")


if __name__ == "__main__":
    FILE.write_text(rendered())
