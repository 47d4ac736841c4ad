"""The calls of the inference service: what is sent, what comes of it, what may be repeated."""

from __future__ import annotations

from typing_extensions import Unpack

from inference_service.client import codec
from inference_service.client.codec import Inputs, RequestOptions
from inference_service.client.results import Model, Prediction, Version
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors
from service_kit.client.call import Call, nothing
from service_kit.client.channel import sendable


def predict(model: str, images: Inputs, **options: Unpack[RequestOptions]) -> Call[Prediction]:
    """Asks for a prediction; repeatable, since it changes nothing."""
    message = codec.request_message(model, images, "", **options)
    return Call("Predict", message, codec.prediction)


def models() -> Call[list[Model]]:
    """Asks for every model."""
    return Call("ListModels", pb.ListModelsRequest(), _models)


def model(name: str) -> Call[Model]:
    """Asks for one model."""
    with sendable():
        request = pb.GetModelRequest(model=name)
    return Call("GetModel", request, _model)


def load(model: str, version: int) -> Call[Version]:
    """Has a version loaded; repeatable: what is served already is answered at once."""
    with sendable():
        request = pb.LoadModelRequest(model=model, version=version)
    return Call("LoadModel", request, _version)


def unload(model: str, version: int) -> Call[None]:
    """Has a version unloaded; repeatable: what is not served any more is gone."""
    with sendable():
        request = pb.UnloadModelRequest(model=model, version=version)
    return Call("UnloadModel", request, nothing, done_by=(errors.NotFound,))


def set_label(model: str, label: str, version: int) -> Call[None]:
    """Has a label point at a version; repeatable: it is where it was put, or removed."""
    with sendable():
        request = pb.SetLabelRequest(model=model, label=label, version=version)
    gone = () if version else (errors.LabelNotFound,)
    return Call("SetLabel", request, nothing, done_by=gone)


def problems() -> Call[tuple[str, ...]]:
    """Asks what keeps the server from being up to date."""
    return Call("ListModels", pb.ListModelsRequest(), _problems)


def _models(response: pb.ListModelsResponse) -> list[Model]:
    return [codec.model(message) for message in response.models]


def _model(response: pb.GetModelResponse) -> Model:
    return codec.model(response.model)


def _version(response: pb.LoadModelResponse) -> Version:
    return codec.version(response.version)


def _problems(response: pb.ListModelsResponse) -> tuple[str, ...]:
    return tuple(filter(None, (response.models_file_problem, response.store_problem)))
