"""The Containerfile, as a file; `make image-test` builds and runs what it makes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from deploy.docker.image_checks import ENTRY_POINTS, PORTS, USER
from deploy.docker.image_test import stages
from deploy.docker.lock import EXTRAS, HERE
from service_kit import __version__
from tests.support.overlays import K8S, ROOT

CONTAINERFILE = HERE / "Containerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions() -> list[str]:
    """Returns the Containerfile's instructions, each in one line, without comments."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]


def test_hadolint_finds_nothing() -> None:
    command = [str(HADOLINT), "--no-color", str(CONTAINERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "hadolint ignore" not in CONTAINERFILE.read_text()


def test_every_stage_begins_with_the_base_or_a_stage() -> None:
    seen: set[str] = set()
    for line in instructions():
        if line.startswith("FROM "):
            _, base, _, name = line.split()
            assert base == "${BASE}" or base in seen
            seen.add(name)
    assert set(EXTRAS) <= seen
    assert instructions()[0].startswith("ARG BASE=")


def test_images_start_their_program_as_their_user_without_a_shell() -> None:
    for command in ENTRY_POINTS.values():
        assert f'ENTRYPOINT ["{command[0]}", "{command[1]}"]' in instructions()
    assert [line for line in instructions() if line.startswith(("USER", "CMD", "HEALTHCHECK"))] == [
        f"USER {USER}:{USER}"
    ]


def test_packages_are_checked_against_their_hashes() -> None:
    installs = re.findall(r" install --quiet (\S+)", CONTAINERFILE.read_text())
    # Our own wheel is the one that has none: it was made a stage before.
    assert sorted(installs) == ["--no-index"] * 3 + ["--require-hashes"] * 4


def test_every_stage_that_installs_may_be_held_to_the_wheelhouse() -> None:
    for stage in re.split(r"(?m)^FROM ", CONTAINERFILE.read_text())[1:]:
        # An argument ends with its stage; without it pip would ask its index.
        assert ("--require-hashes" in stage) == ("ARG PIP_NO_INDEX\n" in stage), stage.split()[2]


def test_an_image_is_tested_with_its_own_stages_alone() -> None:
    recipe = CONTAINERFILE.read_text()
    names = re.findall(r"(?m)^FROM .* AS (\S+)$", stages(recipe, "exporter"))
    assert names == ["build", "exporter-environment", "base", "exporter"]
    assert set(stages(recipe, "exporter").splitlines()) <= set(recipe.splitlines())
    names = re.findall(r"(?m)^FROM .* AS (\S+)$", stages(recipe, "inference"))
    assert names == ["build", "inference-environment", "base", "inference"]
    names = re.findall(r"(?m)^FROM .* AS (\S+)$", stages(recipe, "inference-openvino"))
    assert names == [
        "build", "inference-openvino-environment", "base", "inference-openvino",
    ]  # fmt: skip


def test_the_label_has_the_release() -> None:
    assert f"ARG VERSION={__version__}" in instructions()


def test_the_recipe_names_no_host() -> None:
    for file in (*HERE.glob("*.py"), CONTAINERFILE, ROOT / ".dockerignore"):
        assert not re.search(r"https?://|\b[a-z0-9-]+\.(org|com|io/)", _without_labels(file)), file


def _without_labels(file: Path) -> str:
    return re.sub(r"(org\.opencontainers|io\.pbserve)\.\S+", "", file.read_text())


def test_what_is_not_part_of_the_images_stays_out_of_their_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:].split("/")[0] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied: set[str] = set()
    for line in instructions():
        if line.startswith("COPY ") and "--from" not in line:
            copied.update(line.split()[1:-1])
    assert allowed == copied | {"deploy"}
    assert all((ROOT / name).exists() for name in copied)


def test_manifests_run_what_the_images_are() -> None:
    for image, command in ENTRY_POINTS.items():
        # Another image runs in the place of the one that the base has.
        program = image.removesuffix("-openvino")
        deployment = yaml.safe_load((K8S / "base" / f"{program}.yaml").read_text())
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == f"pbserve.invalid/{program}"
        assert container["command"] == command
        assert pod["securityContext"]["runAsUser"] == USER
        assert {port["containerPort"] for port in container["ports"]} == set(PORTS[image])


def made(target: str, *variables: str) -> str:
    """Returns what make would run, without running it."""
    command = ["make", "--dry-run", "--always-make", target, *variables]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.replace("\\\n", " ")


def test_images_have_the_names_that_the_manifests_ask_for() -> None:
    build = made("images")
    assert (
        f"for built in exporter=exporter:{__version__} inference=inference:{__version__} "
        f"inference-openvino=inference:{__version__}-openvino;"
    ) in build
    assert "--tag pbserve.invalid/${built#*=} ." in build
    assert "--platform linux/amd64" in build
    # The Containerfile's own, which is pinned there or said not to be.
    assert "--build-arg BASE" not in build
    assert "deploy.docker.base --check" in build


def test_images_go_by_the_registry_the_variant_the_machine_and_the_base() -> None:
    told = (
        "REGISTRY=registry.example.com/team",
        "VARIANT=gpu",
        "MACHINE=aarch64",
        "BASE=b@sha256:1",
    )
    build = made("images", *told)
    assert (
        f"for built in exporter=exporter:{__version__}-gpu inference=inference:{__version__}-gpu ;"
    ) in build
    assert "--tag registry.example.com/team/${built#*=} ." in build
    assert "--platform linux/arm64" in build
    assert "--build-arg BASE=b@sha256:1" in build
    assert "--variant gpu --python 3.12 --machine aarch64" in build


def test_a_scan_takes_what_it_cannot_look_up_for_a_failure() -> None:
    scan = made("scan")
    assert "pip-audit --strict --require-hashes --disable-pip" in scan
    assert "NOT SCANNED" in scan
