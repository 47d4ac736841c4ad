"""Builds both images and has them work together: `make image-test`, as root on Debian.

Needs buildah and debootstrap, no container engine and no registry of images: the base is made of
Debian's own packages, and holds what python:slim holds (pip, which our images must not have). The
wheels come from the wheelhouse, the build has no network, and the two images meet on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deploy.docker.buildah import Buildah, Mount, Program, run
from deploy.docker.image_checks import USER, configuration_faults, file_faults, size, snapshot
from deploy.docker.lock import HERE
from exporter_service.client import ExporterClient
from inference_service.client import InferenceClient
from service_kit import __version__
from service_kit.artifacts.manifest import Manifest, MovingAverageMode
from tests.support.digits import GOLDEN, PARITY, digits_request, expected

ROOT = HERE.parent.parent
BASE = "localhost/pbserve-test-base"
IMAGES = ("inference", "exporter")
PROGRAMS = ("buildah", "debootstrap", "unshare")
# That of the Containerfile's base, and what Python it has of its own.
DEBIAN = "trixie"
PYTHON = "3.13"


def say(text: str) -> None:
    """Prints a line at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def debian(folder: Path) -> Path:
    """Makes a minimal Debian 13 with Python and pip below a folder, as python:slim has them."""
    tree = folder / "base"
    debootstrap = shutil.which("debootstrap") or "debootstrap"
    with (folder / "debootstrap.log").open("w") as log:
        made = subprocess.run(
            [debootstrap, "--variant=minbase", "--include=python3", DEBIAN, str(tree)],
            stdout=log,
            stderr=log,
            check=False,
        )
    if made.returncode:
        raise RuntimeError((folder / "debootstrap.log").read_text()[-2000:])
    pip = tree / "usr" / "local" / "lib" / f"python{PYTHON}" / "dist-packages"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(pip), "pip>=23.2")
    shutil.rmtree(tree / "var" / "cache" / "apt")
    return tree


def stages(recipe: str, image: str) -> str:
    """Returns a Containerfile without the stages of the other images.

    Before 1.31 buildah builds every stage up to the one that it is asked for.
    """
    first, *others = re.split(r"(?m)^(?=FROM )", recipe)
    unwanted = tuple(f"{other}{end}" for other in IMAGES if other != image for end in ("\n", "-"))
    kept = (stage for stage in others if not stage.split(" AS ")[1].startswith(unwanted))
    return "".join((first, *kept))


def build(buildah: Buildah, folder: Path, tree: Path | None) -> None:
    """Builds both images from the wheelhouse."""
    buildah.import_tree(tree or debian(folder), BASE)
    say("base imported")
    for image in IMAGES:
        recipe = folder / f"Containerfile-{image}"
        recipe.write_text(stages((HERE / "Containerfile").read_text(), image))
        buildah.build(
            ROOT,
            recipe,
            image,
            f"localhost/pbserve/{image}",
            BASE=BASE,
            PIP_NO_INDEX="1",
            VERSION=__version__,
        )
        say(f"{image} built without a network")


def check(buildah: Buildah, image: str) -> None:
    """Looks at one image.

    Raises:
        AssertionError: it is not what docs/operate/images.md says.
    """
    name = f"localhost/pbserve/{image}"
    config = buildah.config(name)
    with buildah.container(name) as (container, files):
        faults = [*configuration_faults(image, config), *file_faults(files)]
        assert not faults, "\n".join((f"{image}:", *faults))
        assert config["Labels"]["org.opencontainers.image.version"] == __version__
        user = buildah.shell(container, config["User"], "id", "-u")
        assert user == str(USER), user
        say(f"{image}: as promised, {size(files) / 1e6:.0f} MB of files")


@contextlib.contextmanager
def serving(
    buildah: Buildah, image: str, options: Mapping[str, str], folder: Path, store_mode: str
) -> Iterator[Program]:
    """Runs an image with a store and a /tmp; afterwards it must have written nowhere else."""
    scratch, store = folder / f"tmp-{image}", folder / "models"
    for made in (scratch, store):
        made.mkdir(exist_ok=True)
        os.chown(made, USER, USER)
    mounts = [
        Mount(scratch, "/tmp", "rw"),  # noqa: S108 - the container's
        Mount(store, "/models", store_mode),
        Mount(GOLDEN, "/checkpoints"),
    ]
    flags = [f"--{key}={value}" for key, value in options.items()]
    name = f"localhost/pbserve/{image}"
    log = folder / f"{image}.log"
    with buildah.container(name) as (container, files):
        # buildah makes the places of the mounts before the program runs.
        buildah.shell(container, "0", "mkdir", "-p", "/models", "/checkpoints")
        before = snapshot(files)
        try:
            with buildah.running(name, container, flags, mounts, log) as program:
                identity = Path(f"/proc/{program.pid}/status").read_text()
                assert f"Uid:\t{USER}\t{USER}" in identity, identity
                assert "CapEff:\t0000000000000000" in identity, identity
                yield program
                code = program.stop()
                assert code == 0, f"{image} ended with {code}"
        except BaseException:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise
        after = snapshot(files)
        changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
        # buildah's own: the container's resolver and names.
        changed = {p for p in changed if p not in {"etc", "etc/hosts", "etc/resolv.conf", "run"}}
        assert not changed, f"{image} wrote outside of /tmp: {sorted(changed)[:20]}"


def difference(client: InferenceClient, version: int, key: str) -> float:
    """Asks for the held-out images; returns the largest difference to TensorFlow 1.15."""
    answer = client.predict("digits", expected()["images"])
    assert answer.version == version, answer.version
    return float(np.abs(answer.outputs["probs"] - expected()[key]).max())


def wait(what: str, holds: Callable[[], Any], seconds: float = 60) -> None:
    """Returns when something holds; raises TimeoutError with its name otherwise."""
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(what)
        time.sleep(0.2)


def work_together(buildah: Buildah, folder: Path) -> None:
    """Converts, hot-loads, predicts and swaps, from here, by the two images alone."""
    common = {"listen": "127.0.0.1:0", "metrics-listen": "127.0.0.1:0", "lame-duck": "0"}
    with (
        serving(buildah, "inference", common, folder, "ro") as inference,
        serving(buildah, "exporter", common, folder, "rw") as exporter,
        InferenceClient(inference.address) as client,
        ExporterClient(exporter.address) as converter,
    ):
        *_, first = converter.convert(digits_request())
        assert isinstance(first, Manifest)
        client.wait_until_ready("digits")
        largest = difference(client, 1, "probs_ema")
        assert largest < PARITY, largest
        say(f"converted and hot-loaded {first.version}: within {largest:.1e} of TensorFlow 1.15")
        *_, _second = converter.convert(digits_request(moving_average=MovingAverageMode.OFF))
        probe = expected()["images"][:1]
        wait("version 2", lambda: client.predict("digits", probe).version == 2)
        largest = difference(client, 2, "probs_raw")
        assert largest < PARITY, largest
        say(f"swapped to version 2: within {largest:.1e}")
    say("both ended in order on SIGTERM, and wrote to /tmp and the store alone")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="a folder with a Debian 13 to take as it is")
    parser.add_argument("--folder", type=Path, help="where to work; it is kept")
    chosen = parser.parse_args()
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        print(f"needs root, and from Debian: {' '.join(missing or PROGRAMS)}", file=sys.stderr)
        return 1
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="pbserve-images-")
        folder = chosen.folder or Path(stack.enter_context(made))
        buildah = Buildah(folder)
        build(buildah, folder, chosen.base)
        for image in IMAGES:
            check(buildah, image)
        work_together(buildah, folder)
    say(f"took {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
