from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter_service.architectures.densenet_plan import (
    DenseNetParameters,
    infer,
    transition_filters,
    variables,
)
from exporter_service.architectures.registry import find_architecture


def members(name: str, **parameters: object) -> dict[str, tuple[tuple[int, ...], bool]]:
    architecture = find_architecture(name)
    planned = architecture.variables(architecture.parse(parameters))
    return {key: (variable.shape, variable.trainable) for key, variable in planned.items()}


def test_densenet169_has_the_recipes_variables() -> None:
    planned = members("densenet169", classes=2)
    assert len(planned) == 846
    assert sum(trainable for _, trainable in planned.values()) == 508
    for name, shape in {
        "densenet169/conv1/weights": (7, 7, 3, 64),
        "densenet169/BatchNorm/gamma": (64,),
        "densenet169/dense_block1/conv_block1/x1/BatchNorm/moving_mean": (64,),
        "densenet169/dense_block1/conv_block1/x1/Conv/weights": (1, 1, 64, 128),
        "densenet169/dense_block4/conv_block32/x2/Conv/weights": (3, 3, 128, 32),
        "densenet169/transition_block1/blk/Conv/weights": (1, 1, 256, 128),
        "densenet169/final_block/BatchNorm/beta": (1664,),
        "densenet169/logits/weights": (1, 1, 1664, 2),
        "densenet169/logits/biases": (2,),
    }.items():
        assert planned[name][0] == shape


# 1 + 4 first layer; 2 x 5 a layer; 5 a transition; 4 + 2 at the end.
@pytest.mark.parametrize(
    ("name", "layers", "final"),
    [
        ("densenet121", (6, 12, 24, 16), 1024),
        ("densenet161", (6, 12, 36, 24), 2208),
        ("densenet169", (6, 12, 32, 32), 1664),
    ],
)
def test_the_family_has_its_published_sizes(name: str, layers: tuple[int, ...], final: int) -> None:
    planned = members(name, classes=1000)
    assert len(planned) == 5 + 10 * sum(layers) + 5 * (len(layers) - 1) + 6
    assert planned[f"{name}/final_block/BatchNorm/gamma"][0] == (final,)
    assert not planned[f"{name}/final_block/BatchNorm/moving_variance"][1]


@pytest.mark.parametrize(
    ("filters", "reduction", "kept"), [(256, 0.5, 128), (41, 0.5, 20), (10, 0.3, 7), (8, 0.0, 8)]
)
def test_a_transition_rounds_down(filters: int, reduction: float, kept: int) -> None:
    assert transition_filters(filters, reduction) == kept


@given(
    st.builds(
        DenseNetParameters,
        classes=st.integers(1, 1000),
        scope=st.from_regex(r"[a-z][a-z0-9_/]{0,10}", fullmatch=True),
        growth_rate=st.integers(1, 64),
        initial_filters=st.integers(4, 128),
        layers=st.lists(st.integers(1, 12), min_size=1, max_size=5).map(tuple),
        reduction=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    )
)
def test_parameters_are_read_off_the_keys_that_they_imply(parameters: DenseNetParameters) -> None:
    shapes = {name: variable.shape for name, variable in variables(parameters).items()}
    found = infer(shapes | {"global_step": ()})
    assert found is not None
    assert variables(found) == variables(parameters)


def test_other_nets_are_not_recognised() -> None:
    assert infer({}) is None
    assert infer({"net/conv1/weights": (7, 7, 3, 64), "net/logits/biases": (2,)}) is None
