from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from inference_service.protocols.open_inference.datatypes import DTYPES, datatype_of, dtype_of
from service_kit import errors


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_names_and_dtypes_belong_together(datatype: str) -> None:
    assert datatype_of(dtype_of("x", datatype)) == datatype


def test_the_byte_order_does_not_change_the_name() -> None:
    assert datatype_of(np.dtype(">f4")) == "FP32"
    assert datatype_of(np.dtype("<i8")) == "INT64"


def test_bf16_is_that_of_ml_dtypes_and_casts_to_float32_without_loss() -> None:
    dtype = dtype_of("x", "BF16")
    assert dtype == ml_dtypes.bfloat16
    assert np.can_cast(dtype, np.float32, "safe")
    assert not np.can_cast(dtype, np.float16, "safe")


def test_what_the_protocol_does_not_have_has_no_name() -> None:
    assert datatype_of(np.dtype(np.complex64)) == ""
    assert datatype_of(np.dtype("S3")) == ""


@pytest.mark.parametrize("datatype", ["", "FLOAT", "fp32", "BYTES", "TYPE_FP32", "FP8"])
def test_an_unknown_name_is_refused_with_those_that_are_known(datatype: str) -> None:
    with pytest.raises(errors.InvalidTensor, match=r"input 'x' has datatype .* known are BOOL, "):
        dtype_of("x", datatype)
