from __future__ import annotations

import pytest

from exporter_service.architectures.registry import (
    ARCHITECTURES,
    find_architecture,
    fitting_architectures,
)
from service_kit import errors


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
