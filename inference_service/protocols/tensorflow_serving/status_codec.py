"""Versions of a model -> GetModelStatusResponse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_service.models.status import State, VersionStatus
from inference_service.protocols.tensorflow_serving import messages
from inference_service.protocols.tensorflow_serving.model_spec import Asked
from service_kit import errors, status

_STATE_OF = {
    State.LOADING: messages.ModelVersionStatus.LOADING,
    State.AVAILABLE: messages.ModelVersionStatus.AVAILABLE,
    State.UNLOADING: messages.ModelVersionStatus.UNLOADING,
    # A load that failed ends a version's life there, with a status that is not OK.
    State.FAILED: messages.ModelVersionStatus.END,
}


def status_response(asked: Asked, versions: Sequence[VersionStatus], ended: Sequence[int]) -> Any:
    """Returns the states of a model's versions, or of the one that is asked for.

    Args:
        asked: the model, and its version or 0.
        versions: what is known of the model.
        ended: versions that were served once, and are gone.

    Raises:
        VersionNotFound: there is no such version, or none at all.
    """
    known = {one.version: one for one in versions}
    numbers = sorted({*known, *ended})
    if asked.version:
        numbers = [one for one in numbers if one == asked.version]
    if not numbers:
        what = f"version {asked.version}" if asked.version else "any versions"
        raise errors.VersionNotFound(f"Could not find {what} of model {asked.model}")
    message = messages.GetModelStatusResponse()
    for number in numbers:
        one = message.model_version_status.add(
            version=number, state=messages.ModelVersionStatus.END
        )
        # Present, with the code OK, as there.
        one.status.SetInParent()
        if number in known:
            one.state = _STATE_OF[known[number].state]
            error = known[number].error
            if error and known[number].state is State.FAILED:
                one.status.error_code = status.code_of(error).value[0]
                one.status.error_message = str(error)
    return message
