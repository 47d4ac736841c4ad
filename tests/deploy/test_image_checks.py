"""What is looked for in an image is found there."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.docker.image_checks import file_faults, snapshot, writable
from deploy.docker.wheelhouse import MACHINES, platforms


def a_root(folder: Path) -> Path:
    """Makes what a faultless image has."""
    package = folder / "opt/pbserve/lib/python3.12/site-packages/inference_service/__pycache__"
    package.mkdir(parents=True)
    (package / "core.cpython-312.pyc").touch()
    record = package.parent.parent / "pbserve-0.1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("inference_service/protocols/core.py,,\n../../../bin/pbserve,,\n")
    for name in ("usr/bin", "opt/pbserve/bin", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "usr/bin/ldconfig").touch()
    return folder


def test_a_faultless_image_has_no_faults(tmp_path: Path) -> None:
    assert list(file_faults(a_root(tmp_path))) == []


@pytest.mark.parametrize(
    "planted",
    [
        "usr/bin/gcc-12",
        "usr/bin/pip3.12",
        "usr/bin/make",
        "opt/pbserve/lib/python3.12/site-packages/pip/__init__.py",
        "opt/pbserve/lib/python3.12/site-packages/tensorflow/include/op.h",
        "usr/local/lib/python3.12/ensurepip/__init__.py",
        "usr/lib/python3/dist-packages/pip/__init__.py",
        "src/pyproject.toml",
        "wheelhouse/numpy.whl",
    ],
)
def test_what_must_not_be_in_an_image_is_found(planted: str, tmp_path: Path) -> None:
    file = a_root(tmp_path) / planted
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert len(list(file_faults(tmp_path))) == 1


def test_files_that_anybody_may_write_and_set_uid_programs_are_found(tmp_path: Path) -> None:
    program = a_root(tmp_path) / "usr/bin/ldconfig"
    program.chmod(0o666)
    assert writable(tmp_path) == ["tmp", "usr/bin/ldconfig"]
    program.chmod(0o4755)
    assert list(file_faults(tmp_path)) == ["/usr/bin/ldconfig is set-uid or set-gid"]


def test_files_of_the_checkout_that_our_wheel_brought_are_found(tmp_path: Path) -> None:
    (record,) = a_root(tmp_path).glob("opt/**/RECORD")
    record.write_text(record.read_text() + "tests/test_x.py,,\n")
    assert list(file_faults(tmp_path)) == ["has tests/test_x.py of the checkout"]


def test_missing_compiled_modules_are_found(tmp_path: Path) -> None:
    for compiled in a_root(tmp_path).rglob("*.pyc"):
        compiled.unlink()
    assert any("compiled" in fault for fault in file_faults(tmp_path))


def test_what_a_program_wrote_is_found(tmp_path: Path) -> None:
    before = snapshot(a_root(tmp_path))
    (tmp_path / "opt/pbserve/new").touch()
    after = snapshot(tmp_path)
    assert {name for name in after if before.get(name) != after[name]} == {
        "opt/pbserve",
        "opt/pbserve/new",
    }


@pytest.mark.parametrize("machine", MACHINES)
def test_wheels_are_those_for_debian_12_the_newest_first(machine: str) -> None:
    tags = platforms(machine)
    assert tags[0] == f"manylinux_2_36_{machine}"
    assert tags.index(f"manylinux_2_28_{machine}") < tags.index(f"manylinux_2_17_{machine}")
    assert {f"manylinux2014_{machine}", f"linux_{machine}"} <= set(tags)
