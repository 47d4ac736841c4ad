"""Images and containers without a container engine: Debian's buildah, as root, in one folder."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Seconds that a program may take to say where it listens, or to end.
PATIENCE = 120.0


def run(*command: str) -> str:
    """Returns what a command prints; raises CalledProcessError with its errors shown."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Mount:
    """A folder of the host inside a container."""

    source: Path
    target: str
    options: str = "ro"

    def __str__(self) -> str:
        """Returns it as buildah's `--volume` takes it."""
        return f"{self.source}:{self.target}:{self.options}"


@dataclass(frozen=True)
class Program:
    """A running entry point: where it listens, and its own process, which is not buildah's."""

    address: str
    pid: int
    process: subprocess.Popen[str]

    def stop(self) -> int:
        """Ends it as a kubelet does, with SIGTERM to the container's process.

        Returns:
            Its exit code.
        """
        os.kill(self.pid, 15)
        return self.process.wait(timeout=PATIENCE)


class Buildah:
    """buildah with a storage of its own below a folder; neither overlays nor namespaces."""

    def __init__(self, folder: Path) -> None:
        """Makes nothing yet."""
        storage = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"))
        self._command = ("buildah", *storage, "--storage-driver", "vfs")

    def __call__(self, *arguments: str) -> str:
        """Returns what buildah prints."""
        return run(*self._command, *arguments)

    def import_tree(self, tree: Path, name: str) -> None:
        """Makes an image of a folder."""
        container = self("from", "scratch")
        self("add", "--quiet", container, str(tree), "/")
        self("commit", "--quiet", "--rm", container, name)

    def build(self, context: Path, file: Path, target: str, name: str, **arguments: str) -> None:
        """Builds a target in a network namespace of its own: without a network, that is."""
        chosen = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        # A layer is a whole copy with vfs: one for each stage, instead of one for each instruction.
        options = ("--isolation=chroot", "--layers=false", "--target", target, "--tag", name)
        alone = ("unshare", "--net", *self._command, "build", *options, *chosen)
        done = subprocess.run(
            [*alone, "--file", str(file), str(context)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{target} was not built:\n{done.stdout[-4000:]}")

    def config(self, image: str) -> Mapping[str, Any]:
        """Returns the image's configuration, as the OCI has it."""
        config = json.loads(self("inspect", "--type", "image", image))["OCIv1"]["config"]
        assert isinstance(config, dict)
        return config

    @contextlib.contextmanager
    def container(self, image: str) -> Iterator[tuple[str, Path]]:
        """Yields a container of the image and the folder that is its root file system."""
        name = self("from", image)
        try:
            yield name, Path(self("mount", name))
        finally:
            self("umount", name)
            self("rm", name)

    def shell(self, container: str, user: str, *command: str) -> str:
        """Returns what a command prints inside a container."""
        return self("run", "--isolation=chroot", "--user", user, container, "--", *command)

    @contextlib.contextmanager
    def running(
        self, image: str, container: str, options: Sequence[str], mounts: Sequence[Mount], log: Path
    ) -> Iterator[Program]:
        """Runs the image's entry point as its user."""
        config = self.config(image)
        volumes = [word for mount in mounts for word in ("--volume", str(mount))]
        with log.open("w") as errors:
            process = subprocess.Popen(
                [
                    *(*self._command, "run", "--isolation=chroot"),
                    *("--user", config["User"], *volumes, container, "--"),
                    *(*config["Entrypoint"], *options),
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if "listening on" not in line:
                raise RuntimeError(f"{image} did not start:\n{log.read_text()}")
            pid = _program(process.pid, config["Entrypoint"][0])
            yield Program(line.split()[-1], pid, process)
        finally:
            if process.poll() is None:
                for pid in reversed(_descendants(process.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 15)
                process.wait(timeout=PATIENCE)
            process.stdout.close()


def _descendants(pid: int) -> list[int]:
    """Returns the processes below a process, parents first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _program(pid: int, name: str) -> int:
    """Returns the first process below `pid` that runs a program: not buildah, not its children."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        for below in _descendants(pid):
            words = Path(f"/proc/{below}/cmdline").read_bytes().split(b"\0")
            # buildah's own process has the program among its words, and would take it along.
            ours = len(words) > 1 and not words[0].startswith(b"buildah")
            if ours and words[1].endswith(b"/" + name.encode()):
                return below
    raise TimeoutError(f"no process runs {name}")
