"""The locks of the images: complete, consistent, and silent about where packages come from."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import cast

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.docker.image_checks import OUR_PACKAGES
from deploy.docker.lock import BUILD, EXTRAS, HERE, installed, path, variants_of
from deploy.docker.wheelhouse import MACHINES
from tests.support.overlays import ROOT

LOCKS = sorted(HERE.glob("requirements-*.txt"))
PYTHONS = ("3.11", "3.12", "3.13")
_PIN = re.compile(r"[a-z0-9-]+==[a-z0-9.+]+( ; [a-zA-Z0-9_.<>=!' ()]+)? \\")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]+( \\)?")
# Not for running.
DEVELOPMENT = {"dev", "docs"}
# Named as TensorFlow, and the same release of it.
STANDS_FOR = {"tensorflow": "tensorflow-cpu"}

images = pytest.mark.parametrize("image", ["exporter", "inference"])
variants = pytest.mark.parametrize(
    ("image", "variant"), [(image, variant) for image in EXTRAS for variant in variants_of(image)]
)
locks = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)


def entries(lock: Path) -> list[tuple[Requirement, list[str]]]:
    """Returns what a lock pins, each with its hashes."""
    found = []
    for line in lock.read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split("--hash=")
        found.append((Requirement(requirement.strip()), [one.strip() for one in hashes]))
    return found


@cache
def versions(lock: Path, python: str, machine: str = "x86_64") -> dict[str, str]:
    """Returns what a lock installs on Linux with a release of Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "platform_machine": machine,
    }
    platform = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    where = {**cast("dict[str, str]", default_environment()), **platform, **environment}
    found: dict[str, str] = {}
    for requirement, _ in entries(lock):
        if requirement.marker is None or requirement.marker.evaluate(where):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} twice for Python {python}"
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            found[name] = pin.version
    return found


@cache
def pyproject() -> dict[str, list[str]]:
    """Returns requirements by extra; those without one by the empty name."""
    # Python has a reader since 3.11; the oldest that tests run on has pip's.
    program = (
        "import json, sys, importlib; toml = importlib.import_module(sys.argv[1]);"
        "project = toml.load(open(sys.argv[2], 'rb'))['project'];"
        "print(json.dumps({'': project['dependencies'], **project['optional-dependencies']}))"
    )
    reader = "tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli"
    command = [sys.executable, "-c", program, reader, str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = yaml.safe_load(done.stdout)
    assert isinstance(loaded, dict)
    return loaded


@variants
@pytest.mark.parametrize("python", PYTHONS)
def test_a_lock_has_what_the_project_asks_for(image: str, variant: str, python: str) -> None:
    pins = versions(path(image, variant), python)
    for extra in ("", "serving", *EXTRAS[image]):
        for text in pyproject()[extra]:
            requirement = Requirement(text)
            if requirement.name == "pbserve":
                # Other extras, which are asked for by themselves or by the first of all.
                assert requirement.extras <= {"serving", *EXTRAS[image]}
                continue
            assert requirement.marker is None or "platform_machine" in str(requirement.marker)
            name = canonicalize_name(requirement.name)
            if variant == "cpu":
                name = canonicalize_name(STANDS_FOR.get(name, name))
            assert name in pins, f"run `make lock`: {path(image, variant).name} has no {name}"
            assert requirement.specifier.contains(pins[name]), f"run `make lock`: {name}"


def imported(folder: Path) -> set[str]:
    """Returns the outermost names of what a package's modules import, wherever in them."""
    found: set[str] = set()
    for module in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - set(OUR_PACKAGES)


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="3.10 cannot tell what brings a package without __init__"
)
@images
def test_a_lock_has_whatever_the_program_imports(image: str) -> None:
    pins = versions(path(image, "gpu"), "3.12")
    if image == "inference":
        # One of the engines is in an image of its own.
        pins = pins | versions(path("inference-openvino", "cpu"), "3.12")
    distributions = packages_distributions()
    for name in imported(ROOT / "service_kit") | imported(ROOT / f"{image}_service"):
        brought = {canonicalize_name(one) for one in distributions.get(name, [name])}
        assert brought & pins.keys(), f"{name} is not in pyproject.toml, or run `make lock`"


def test_each_extra_of_the_programs_is_in_an_image() -> None:
    # The variant for GPUs has what `gpu` asks for.
    named = {"serving", "gpu"}.union(*EXTRAS.values())
    assert named == set(pyproject()) - DEVELOPMENT - {""}


def test_the_image_on_openvino_has_no_tensorflow() -> None:
    pins = versions(path("inference-openvino", "cpu"), "3.12")
    assert "openvino" in pins
    assert not {name for name in pins if name.startswith(("tensorflow", "keras", "nvidia"))}


@locks
def test_every_pin_has_hashes(lock: Path) -> None:
    assert entries(lock)
    for requirement, hashes in entries(lock):
        assert hashes, requirement.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement.name


@locks
def test_a_lock_does_not_say_where_packages_come_from(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert _PIN.fullmatch(line) or _HASH.fullmatch(line), line


def test_there_is_a_lock_for_each_image_and_variant_and_no_other() -> None:
    needed = {path(image, variant) for image in EXTRAS for variant in variants_of(image)}
    assert set(LOCKS) == needed | {HERE / "requirements-build.txt"}


@pytest.mark.parametrize("python", PYTHONS)
def test_all_locks_have_the_same_versions(python: str) -> None:
    largest = versions(path("exporter", "gpu"), python)
    for image in EXTRAS:
        for variant in variants_of(image):
            pins = dict(versions(path(image, variant), python))
            if "tensorflow-cpu" in pins:
                pins["tensorflow"] = pins.pop("tensorflow-cpu")
            # OpenVINO and its own are in no other.
            ours = {name: pins[name] for name in pins if not name.startswith("openvino")}
            assert ours.items() <= largest.items()


@images
@pytest.mark.parametrize("python", PYTHONS)
def test_the_variants_differ_by_cuda_alone(image: str, python: str) -> None:
    cpu, gpu = (set(versions(path(image, variant), python)) for variant in variants_of(image))
    assert cpu - gpu == {"tensorflow-cpu"}
    cuda = {name for name in gpu if name.startswith("nvidia-")}
    assert gpu - cpu == {"tensorflow"} | cuda
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= cuda


def test_no_lock_has_what_builds_our_wheel() -> None:
    for image in EXTRAS:
        for variant in variants_of(image):
            assert not {BUILD, "pip", "uv"} & set(versions(path(image, variant), "3.12"))
    assert BUILD in versions(HERE / "requirements-build.txt", "3.12")


@images
@pytest.mark.parametrize("python", PYTHONS)
def test_arm64_has_the_same_but_for_what_has_no_wheels_there(image: str, python: str) -> None:
    x86, arm = (dict(versions(path(image, "cpu"), python, machine)) for machine in MACHINES)
    assert arm.pop("tensorflow") == x86["tensorflow-cpu"]
    assert x86.keys() - arm.keys() == {"tensorflow-cpu"}
    assert arm.items() <= x86.items()


LOCK = """\
all==1 \\
    --hash=sha256:00
here==2 ; platform_machine == 'x86_64' \\
    --hash=sha256:01
there==3 ; platform_machine != 'x86_64' and python_version < '3.13' \\
    --hash=sha256:02 \\
    --hash=sha256:03
elsewhere==4 ; sys_platform == 'win32' \\
    --hash=sha256:04
"""


def test_a_lock_is_installed_for_the_machine_and_the_release_that_it_is_for() -> None:
    assert installed(LOCK, "3.12", "x86_64") == (
        "all==1 \\\n    --hash=sha256:00\nhere==2 \\\n    --hash=sha256:01\n"
    )
    arm = installed(LOCK, "3.12", "aarch64")
    assert re.findall(r"(?m)^(\w+)==", arm) == ["all", "there"]
    assert arm.endswith("    --hash=sha256:02 \\\n    --hash=sha256:03\n")
    assert re.findall(r"(?m)^(\w+)==", installed(LOCK, "3.13", "aarch64")) == ["all"]


@pytest.mark.parametrize("machine", MACHINES)
@locks
def test_what_is_installed_is_what_the_lock_pins(lock: Path, machine: str) -> None:
    text = installed(lock.read_text(), "3.12", machine)
    names = {canonicalize_name(name) for name in re.findall(r"(?m)^([a-z0-9-]+)==", text)}
    assert names == versions(lock, "3.12", machine).keys()
    assert " ; " not in text
