"""gRPC edge of TensorFlow Serving's protocol."""

from __future__ import annotations

import asyncio
from typing import Any

from inference_service.protocols.shared.core import Core
from inference_service.protocols.tensorflow_serving import messages, predict_codec
from inference_service.protocols.tensorflow_serving.model_spec import Asked, asked, check_spec
from inference_service.protocols.tensorflow_serving.reload_codec import model_list
from inference_service.protocols.tensorflow_serving.signatures import (
    choose_signature,
    signature_map,
)
from inference_service.protocols.tensorflow_serving.status_codec import status_response
from service_kit import errors

_SIGNATURE_DEF = "signature_def"
REQUESTS = {
    "Predict": messages.PredictRequest,
    "GetModelMetadata": messages.GetModelMetadataRequest,
    "GetModelStatus": messages.GetModelStatusRequest,
    "HandleReloadConfigRequest": messages.ReloadConfigRequest,
}


class TensorFlowServingServicer:
    """Answers what TensorFlow Serving answers, in its words."""

    def __init__(self, core: Core) -> None:
        """Serves `core`."""
        self._core = core

    async def Predict(self, request: Any, context: Any) -> Any:
        """Answers with the outputs of one signature."""
        target = asked(request)
        with target.servable(self._core.registry) as servable:
            signature = choose_signature(servable, request.model_spec.signature_name)
        predict_codec.check_names(request, signature)
        if predict_codec.is_slow(request):
            inference_request = await asyncio.to_thread(
                predict_codec.inference_request, request, target, signature
            )
        else:
            inference_request = predict_codec.inference_request(request, target, signature)
        with target.missing_as_tensorflow_serving(self._core.registry):
            answer = await self._core.predictor.answer(inference_request, context.time_remaining())
        if predict_codec.is_slow_answer(answer):
            return await asyncio.to_thread(predict_codec.response, answer, signature.name)
        return predict_codec.response(answer, signature.name)

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Describes the signatures of a version."""
        check_spec(request)
        if not request.metadata_field:
            raise errors.InvalidRequest(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for name in request.metadata_field:
            if name != _SIGNATURE_DEF:
                raise errors.InvalidRequest(f"Metadata field {name} is not supported")
        response = messages.GetModelMetadataResponse()
        with asked(request).servable(self._core.registry) as servable:
            response.model_spec.name = servable.model
            response.model_spec.version.value = servable.version
            response.metadata[_SIGNATURE_DEF].Pack(signature_map(servable))
        return response

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """Tells the states of a model's versions."""
        spec = check_spec(request)
        model = spec.name
        try:
            status = self._core.registry.status(model)
            versions, labels = status.versions, status.labels
        except errors.ModelNotFound:
            versions, labels = (), {}
        version = int(spec.version.value)
        if spec.WhichOneof("version_choice") == "version_label":
            version = labels.get(spec.version_label, 0)
            if not version:
                raise errors.InvalidRequest(
                    f"Unrecognized servable version label: {spec.version_label}"
                )
        elif spec.HasField("version") and version < 1:
            raise errors.VersionNotFound(f"Could not find version {version} of model {model}")
        ended = self._core.registry.ended(model)
        return status_response(Asked(model, version), versions, ended)

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Serves a list of models and no others; an error is the status of the call, as there."""
        # A message has room for a million models.
        await self._core.operations.configure(await asyncio.to_thread(model_list, request))
        response = messages.ReloadConfigResponse()
        response.status.SetInParent()
        return response
