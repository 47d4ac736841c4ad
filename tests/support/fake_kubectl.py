"""A kubectl whose API server is a file: builds with the real one, and refuses as a server does.

Usage: fake_kubectl.py STATE KUBECTL ARGUMENTS...: STATE is a file of JSON with `namespaces`,
`objects` (what was applied, by kind, namespace and name) and `calls`; KUBECTL is the real program.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CLUSTER_WIDE = {"Namespace", "PriorityClass"}


def key(found: Any) -> str:
    """Returns kind, namespace and name of an object."""
    metadata = found["metadata"]
    return f"{found['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"


def refusals(state: Any, objects: list[Any], arguments: list[str]) -> list[str]:
    """Returns what an API server says against applying objects, server-side."""
    found = []
    for one in objects:
        namespace = one["metadata"].get("namespace")
        if one["kind"] not in CLUSTER_WIDE and namespace not in state["namespaces"]:
            found.append(f'namespaces "{namespace}" not found')
        before = state["objects"].get(key(one))
        if before is None or before == one:
            continue
        if "--force-conflicts" not in arguments:
            found.append(f"{key(one)}: conflict with kubectl-client-side-apply")
        if one["kind"] == "PersistentVolumeClaim":
            found.append(f"{key(one)}: spec is immutable after creation")
    return found


def run(state: Any, kubectl: str, arguments: list[str]) -> int:
    """Does what the arguments say, and returns the exit code."""
    verb = arguments[0]
    if verb in ("get", "create", "delete"):
        name = arguments[2]
        known = name in state["namespaces"]
        if verb == "create" and not state["may_create"]:
            print("namespaces is forbidden", file=sys.stderr)
            return 1
        if known is (verb == "create"):
            print(f'namespaces "{name}" is {"" if known else "not "}there', file=sys.stderr)
            return 1
        if verb != "get":
            (state["namespaces"].append if verb == "create" else state["namespaces"].remove)(name)
        return 0
    if verb != "apply":
        return 0
    assert "--dry-run=server" in arguments
    folder = arguments[arguments.index("--kustomize") + 1]
    built = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=True
    )
    said = refusals(state, list(yaml.safe_load_all(built.stdout)), arguments)
    print("\n".join(said), file=sys.stderr)
    return bool(said)


def main() -> int:
    """Runs one command against the state's file."""
    file, kubectl, *arguments = sys.argv[1:]
    state = json.loads(Path(file).read_text())
    state["calls"].append(arguments)
    code = run(state, kubectl, arguments)
    Path(file).write_text(json.dumps(state))
    return code


if __name__ == "__main__":
    sys.exit(main())
