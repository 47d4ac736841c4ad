"""Best classes as text: `score:index:label`. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_service.prediction.top_classes import top_classes
from inference_service.wire.raw_tensor import Array
from service_kit import errors

# By the name of a dtype that cannot be ranked, or whose numbers would not read as such.
_RANKED_AS = {"bfloat16": np.float32, "bool": np.uint8}


def class_texts(scores: Array, count: int, labels: Sequence[str]) -> list[list[bytes]]:
    """Returns for each image its best classes as Triton's clients expect them.

    Args:
        scores: [images, classes, ...]; all but the first dimension are classes, in row-major
            order.
        count: of classes for an image; all if there are fewer.
        labels: of the classes in order; a class without one gets `score:index`.

    Returns:
        UTF-8; scores with as many digits as tell them from every other number of their dtype.

    Raises:
        InvalidRequest: there are no classes, but a single number an image.
    """
    if scores.ndim < 2:
        raise errors.InvalidRequest(
            "ask for the output itself: a single number an image has no classes"
        )
    flat = scores.reshape(len(scores), -1) if scores.size else scores.reshape(len(scores), 0)
    ranked = flat.astype(_RANKED_AS.get(flat.dtype.name, flat.dtype), copy=False)
    score_of = ranked.dtype.type
    return [
        [
            ":".join(
                [str(score_of(one.score)), str(one.index), *([one.label] if one.label else [])]
            ).encode()
            for one in classes
        ]
        for classes in top_classes(ranked, count, labels)
    ]
