"""The model repository's messages: index, load, unload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tritonclient.grpc import service_pb2 as pb

from inference_service.models.status import ModelStatus, State
from inference_service.protocols.open_inference.parameters import Parameters
from service_kit import errors
from service_kit.artifacts.model_name import checked_model_name

# Triton's words for the states.
_STATE_OF = {
    State.LOADING: "LOADING",
    State.AVAILABLE: "READY",
    State.UNLOADING: "UNLOADING",
    State.FAILED: "UNAVAILABLE",
}


def index_message(
    statuses: Sequence[ModelStatus],
    published: Mapping[str, Mapping[int, str]],
    request: pb.RepositoryIndexRequest,
) -> pb.RepositoryIndexResponse:
    """Returns the versions that the server knows, or the ready ones; by name, then version.

    Args:
        statuses: of what is served, loading or has failed.
        published: model -> versions that the store has; those that are not served are UNAVAILABLE.
        request: may name no repository, because there is one store.
    """
    _check_repository(request.repository_name)
    index = pb.RepositoryIndexResponse.ModelIndex
    found = {
        (model, version): index(
            name=model, version=str(version), state="UNAVAILABLE", reason="not loaded"
        )
        for model, versions in published.items()
        for version in versions
    }
    for status in statuses:
        for one in status.versions:
            found[status.name, one.version] = index(
                name=status.name,
                version=str(one.version),
                state=_STATE_OF[one.state],
                reason=one.reason,
            )
    ordered = [found[key] for key in sorted(found)]
    return pb.RepositoryIndexResponse(
        models=[one for one in ordered if one.state == "READY" or not request.ready]
    )


def load_request(message: pb.RepositoryModelLoadRequest) -> tuple[str, int]:
    """Returns the model to load and its version, 0 for what the server's settings want.

    Raises:
        InvalidRequest: the model's name or a parameter is not allowed.
        Unsupported: another repository, or a model that comes with the request.
    """
    for key in message.parameters:
        if key == "config" or key.startswith("file:"):
            raise errors.Unsupported(
                f"parameter {key[:100]!r}: models come from the store alone, and their settings "
                "from the models file: publish the model, or change the file"
            )
    return _model_and_version(message, known=("version",))


def unload_request(message: pb.RepositoryModelUnloadRequest) -> tuple[str, int]:
    """Returns the model to unload and its version, 0 for all of it.

    `unload_dependents` is accepted, and changes nothing: no model has any.

    Raises:
        InvalidRequest: the model's name or a parameter is not allowed.
        Unsupported: another repository.
    """
    Parameters(message.parameters, "the request").flag("unload_dependents")
    return _model_and_version(message, known=("version", "unload_dependents"))


def _model_and_version(
    message: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest,
    known: Sequence[str],
) -> tuple[str, int]:
    unknown = [key for key in message.parameters if key not in known]
    if unknown:
        raise errors.InvalidRequest(
            f"parameter {unknown[0][:100]!r} is unknown; there is {', '.join(known)}"
        )
    model = message.model_name
    if model:
        _check_repository(message.repository_name)
    else:
        # KServe's field 1 is the model's name, which is the repository's for Triton.
        model = message.repository_name
    version = Parameters(message.parameters, "the request").integer("version", minimum=1) or 0
    return checked_model_name(model), version


def _check_repository(name: str) -> None:
    if name:
        raise errors.Unsupported(
            f"repository {name[:100]!r}: the server has one store: leave repository_name empty"
        )
