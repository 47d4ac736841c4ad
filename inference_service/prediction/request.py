"""An inference request and its result, without the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inference_service.cards.batch_tensors import Tensors
from inference_service.cards.batching import Priority
from inference_service.images.decoding import Fit
from inference_service.wire.scored_class import ScoredClass


# Not frozen: that triples the time to make one, and there is one of each for every request.
@dataclass(slots=True)
class InferenceRequest:
    """Images for a model.

    Attributes:
        version: 0 for the label's, the default label's, or the newest one.
        card: None for any.
        inputs: arrays by semantic name; the first dimension counts images.
        encoded: encoded images by semantic name.
        fit: how encoded images are brought to the model's size.
        output_names: to answer with; empty: all, or none with `top`.
        top: number of best classes to answer with.
        priority: class of the request.
        request_id: comes back with the answer.
    """

    model: str
    inputs: Tensors
    version: int = 0
    label: str = ""
    card: int | None = None
    encoded: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    fit: Fit = Fit.EXACT
    output_names: Sequence[str] = ()
    top: int = 0
    priority: Priority = Priority.INTERACTIVE
    request_id: str = ""


@dataclass(slots=True)
class InferenceResult:
    """Outputs by semantic name, who computed them, and how long that took (seconds).

    `graph_sha256` is that of the graph file, in hexadecimal. `cards` computed the images, in their
    order; `top` has the best classes of every image, if that was asked for. `class_labels` has the
    names of the classes by output, for the output that they are for.
    """

    request_id: str
    model: str
    version: int
    graph_sha256: str
    cards: Sequence[int]
    outputs: Tensors
    batch_size: int
    queue_seconds: float
    compute_seconds: float
    top: Sequence[Sequence[ScoredClass]] = ()
    class_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
