from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from inference_service.cards.batching import Priority
from inference_service.images.decoding import Fit
from inference_service.protocols.open_inference.parameters import (
    RequestParameters,
    request_parameters,
)
from service_kit import errors


def parameters(**values: dict[str, Any]) -> Any:
    message = pb.ModelInferRequest()
    for key, fields in values.items():
        message.parameters[key].CopyFrom(pb.InferParameter(**fields))
    return message.parameters


def test_without_parameters_the_defaults_hold() -> None:
    assert request_parameters(parameters()) == RequestParameters()


def test_every_parameter_is_read() -> None:
    found = request_parameters(
        parameters(
            card={"int64_param": 1},
            label={"string_param": "stable"},
            priority={"uint64_param": 2},
            timeout={"int64_param": 2_500_000},
            image_fit={"string_param": "crop"},
            triton_enable_empty_final_response={"bool_param": True},
        )
    )
    assert found == RequestParameters(1, "stable", Priority.BULK, 2.5, Fit.CROP, marks_final=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, Priority.INTERACTIVE), (1, Priority.INTERACTIVE), (2, Priority.BULK), (9, Priority.BULK)],
)
def test_priority_1_and_tritons_default_are_interactive(value: int, expected: Priority) -> None:
    for choice in ("int64_param", "uint64_param"):
        found = request_parameters(parameters(priority={choice: value}))
        assert found.priority is expected


def test_a_priority_of_64_bits_is_taken() -> None:
    found = request_parameters(parameters(priority={"uint64_param": 2**64 - 1}))
    assert found.priority is Priority.BULK


def test_timeout_0_is_none() -> None:
    assert request_parameters(parameters(timeout={"int64_param": 0})).seconds is None


def test_a_timeout_beyond_every_clock_is_a_long_one() -> None:
    found = request_parameters(parameters(timeout={"int64_param": 2**63 - 1}))
    assert found.seconds == 1e6


def test_what_is_not_known_is_ignored_as_by_stateless_models_of_triton() -> None:
    found = request_parameters(
        parameters(
            sequence_id={"int64_param": 3},
            sequence_start={"bool_param": True},
            mine={"double_param": 1.5},
            card_={"string_param": "x"},
        )
    )
    assert found == RequestParameters()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"card": {"string_param": "1"}}, "card is string_param; it has to be a whole number"),
        ({"card": {"bool_param": True}}, "card is bool_param"),
        ({"card": {"int64_param": -1}}, "card is -1; 0 to "),
        ({"card": {}}, "card is empty"),
        ({"label": {"int64_param": 1}}, "label is int64_param; it has to be a string"),
        ({"priority": {"int64_param": -1}}, "priority is -1"),
        ({"priority": {"double_param": 1.0}}, "priority is double_param"),
        ({"timeout": {"int64_param": -5}}, "timeout is -5"),
        ({"timeout": {"string_param": "1s"}}, "timeout is string_param"),
        ({"image_fit": {"string_param": "squeeze"}}, "'squeeze'; there is exact, stretch, crop"),
        ({"triton_enable_empty_final_response": {"int64_param": 1}}, "has to be a boolean"),
        ({"triton_other": {"bool_param": True}}, "names with triton_ are reserved"),
    ],
)
def test_a_wrong_value_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        request_parameters(parameters(**values))


def test_reading_makes_no_entries() -> None:
    values = parameters()
    request_parameters(values)
    assert not values
