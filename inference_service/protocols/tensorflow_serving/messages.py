"""The protocol's messages, of `service_kit.tensorflow_messages`; mypy does not know their types."""

from __future__ import annotations

from typing import Any

from service_kit.tensorflow_messages import POOL, message_class

_PACKAGE = "tensorflow.serving"


def _message(name: str) -> Any:
    return message_class(f"{_PACKAGE}.{name}")


PredictRequest = _message("PredictRequest")
PredictResponse = _message("PredictResponse")
GetModelMetadataRequest = _message("GetModelMetadataRequest")
GetModelMetadataResponse = _message("GetModelMetadataResponse")
SignatureDefMap = _message("SignatureDefMap")
GetModelStatusRequest = _message("GetModelStatusRequest")
GetModelStatusResponse = _message("GetModelStatusResponse")
ModelVersionStatus = _message("ModelVersionStatus")
ReloadConfigRequest = _message("ReloadConfigRequest")
ReloadConfigResponse = _message("ReloadConfigResponse")

_MODEL_TYPES = POOL.FindEnumTypeByName(f"{_PACKAGE}.ModelType").values_by_name
MODEL_TYPE_UNSPECIFIED: int = _MODEL_TYPES["MODEL_TYPE_UNSPECIFIED"].number
MODEL_TYPE_TENSORFLOW: int = _MODEL_TYPES["TENSORFLOW"].number
