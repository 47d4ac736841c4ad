"""What of the cards' outputs an answer has. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_service.cards.batch_tensors import Tensors, join_tensors, size_in_bytes
from inference_service.cards.card_answer import CardAnswer, slowest
from inference_service.models.servable import Servable
from inference_service.prediction.request import InferenceRequest, InferenceResult
from inference_service.prediction.top_classes import ranking_takes_long, top_classes
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec

# Of outputs of several cards, which are copied into one: half a millisecond.
_LARGE_JOIN_BYTES = 8 * 2**20


def wanted_outputs(request: InferenceRequest, specs: Sequence[TensorSpec]) -> Sequence[str]:
    """Returns the names of the outputs to answer with.

    Raises:
        InvalidRequest: the model has no such output.
    """
    known = [spec.name for spec in specs]
    if not request.output_names and not request.top:
        return known
    for name in request.output_names:
        if name not in known:
            raise errors.InvalidRequest(
                f"model {request.model} has no output {name!r}; it has {', '.join(known)}"
            )
    return list(dict.fromkeys(request.output_names))


def no_outputs(specs: Sequence[TensorSpec]) -> Tensors:
    """Returns outputs for no images."""
    return {
        spec.name: np.zeros([0, *(max(size, 0) for size in spec.shape[1:])], spec.dtype)
        for spec in specs
    }


def takes_long(request: InferenceRequest, done: Sequence[CardAnswer], ranked: str) -> bool:
    """Whether `make_result` would hold up an event loop; `ranked` is as there."""
    if len(done) > 1 and sum(size_in_bytes(one.outputs) for one in done) > _LARGE_JOIN_BYTES:
        return True
    if not ranked:
        return False
    images = sum(len(one.outputs[ranked]) for one in done)
    return images > 0 and ranking_takes_long(images, done[0].outputs[ranked].shape[1], request.top)


def make_result(
    request: InferenceRequest,
    servable: Servable,
    done: Sequence[CardAnswer],
    names: Sequence[str],
    ranked: str,
) -> InferenceResult:
    """Returns the result of a request; may be called on any thread.

    Args:
        request: what was asked.
        servable: what has answered.
        done: the cards' answers, in the order of their images.
        names: of the outputs to answer with.
        ranked: the output whose best classes are asked for; empty: they are not.
    """
    outputs = join_tensors([one.outputs for one in done])
    longest = slowest(done)
    manifest = servable.manifest
    labels = manifest.class_labels
    return InferenceResult(
        request_id=request.request_id,
        model=manifest.model,
        version=manifest.version,
        graph_sha256=manifest.graph.sha256,
        cards=[one.card for one in done],
        outputs={name: outputs[name] for name in names},
        batch_size=longest.batch_size,
        queue_seconds=longest.queue_seconds,
        compute_seconds=longest.compute_seconds,
        top=top_classes(outputs[ranked], request.top, labels) if ranked else (),
        class_labels=servable.class_labels,
    )
