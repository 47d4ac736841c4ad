from __future__ import annotations

import subprocess
import sys

import pytest

from exporter_service.architectures.registry import (
    ARCHITECTURES,
    architecture_names,
    check_spec,
    find_architecture,
    fitting_architectures,
)
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec
from tests.support.plug_ins import Install


def test_an_unknown_name_is_answered_with_all_names() -> None:
    with pytest.raises(errors.ArchitectureNotFound, match="densenet, densenet121, densenet161"):
        find_architecture("resnet")


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("densenet", {"growth_rate": 0}, "growth_rate is 0"),
        ("densenet", {"layers": []}, "layers is"),
        ("densenet", {"layers": [3, 0]}, r"layers\.1 is 0"),
        ("densenet", {"layers": "3,4"}, "layers is '3,4'"),
        ("densenet", {"classes": 2.5}, "classes is 2.5"),
        ("densenet", {"classes": True}, "classes is True"),
        ("densenet", {"reduction": 1.0}, "reduction is 1.0"),
        ("densenet", {"scope": "a b"}, "scope is 'a b'"),
        ("densenet", {"scope": "x" * 300}, "scope is"),
        ("densenet", {"data_format": "CHWN"}, "data_format is 'CHWN'"),
        ("densenet169", {"growth_rate": 8}, "it has no parameter growth_rate; it takes classes"),
    ],
)
def test_parameters_out_of_range_are_named(
    name: str, parameters: dict[str, object], problem: str
) -> None:
    with pytest.raises(errors.InvalidParameters, match=problem):
        find_architecture(name).parse(parameters)


def test_numbers_that_travelled_as_json_are_taken() -> None:
    parsed = find_architecture("densenet").parse({"layers": [3, 4], "reduction": 0})
    assert parsed.model_dump()["layers"] == (3, 4)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_an_architecture_recognises_its_own_checkpoint(name: str) -> None:
    architecture = find_architecture(name)
    variables = architecture.variables(architecture.parse({"classes": 5}))
    fitting = fitting_architectures({key: var.shape for key, var in variables.items()})
    spec = next(spec for spec in fitting if spec.name == name)
    assert architecture.variables(architecture.parse(spec.parameters)) == variables


def test_the_server_checks_what_it_knows_without_tensorflow(install: Install) -> None:
    module = install("acme/tiny", "net", "1 / 0")
    code = f"""
import sys
sys.path.insert(0, {sys.path[0]!r})
from exporter_service.architectures.registry import architecture_names, check_spec
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec

assert check_spec(ArchitectureSpec("densenet121", {{"classes": 3}})).image_size == (224, 224)
assert check_spec(ArchitectureSpec("slim/inception_v3", {{}})).image_size == (299, 299)
assert check_spec(ArchitectureSpec("acme/tiny", {{"anything": 1}})) is None
assert "acme/tiny" in architecture_names()
for name in ("densenet121", "slim/vgg_16"):
    try:
        check_spec(ArchitectureSpec(name, {{"classes": 0}}))
    except errors.InvalidParameters:
        continue
    raise AssertionError(name)
assert not {{"tensorflow", "tf_slim", "tf_keras", {module!r}}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_answered_with_the_names_of_plugins_too(install: Install) -> None:
    install("acme/tiny", "net", "1 / 0")
    for ask in (find_architecture, lambda name: check_spec(ArchitectureSpec(name, {}))):
        with pytest.raises(errors.ArchitectureNotFound, match="there are acme/tiny, densenet"):
            ask("resnet")


def test_a_plugin_cannot_take_the_place_of_an_architecture_of_ours(install: Install) -> None:
    install("densenet", "net", "1 / 0")
    assert find_architecture("densenet") is ARCHITECTURES["densenet"]
    assert architecture_names().count("densenet") == 1
