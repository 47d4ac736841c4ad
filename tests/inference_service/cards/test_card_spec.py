from __future__ import annotations

import numpy as np
import pytest

from inference_service.cards.card_spec import CardLimits


@pytest.mark.parametrize(
    ("images", "side", "elements", "can_share"),
    [
        (1, 10, 0, True),
        (1, 10, 400, True),
        (1, 11, 400, False),
        # By the size of the images, however many they are.
        (4, 10, 400, True),
        (2, 11, 400, False),
    ],
)
def test_images_of_which_a_batch_would_be_too_large_do_not_share_one(
    images: int,
    side: int,
    elements: int,
    can_share: bool,  # noqa: FBT001
) -> None:
    inputs = {"input": np.zeros((images, side, side), np.uint8)}
    assert CardLimits(4, elements=elements).can_share(inputs) is can_share


def test_no_images_share_with_anybody() -> None:
    assert CardLimits(4, elements=1).can_share({"input": np.zeros((0, 9), np.uint8)})
