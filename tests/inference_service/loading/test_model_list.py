from __future__ import annotations

import pytest

from inference_service.loading.model_list import ListedModel, available_labels, published_versions
from inference_service.loading.policy import KEEP_ALL, Keep
from service_kit import errors

SPECIFIC = ListedModel(Keep("specific", versions=frozenset([2, 3])))


def test_what_the_store_has_may_be_listed() -> None:
    published_versions("m", SPECIFIC, [1, 2, 3])
    published_versions("m", ListedModel(), [1])
    published_versions("m", ListedModel(KEEP_ALL), [1])


def test_what_the_store_has_not_is_named() -> None:
    with pytest.raises(errors.ModelNotFound, match="the store has no model 'm'"):
        published_versions("m", ListedModel(), [])
    with pytest.raises(errors.VersionNotFound, match="no version 3 of model m; it has 1, 2"):
        published_versions("m", SPECIFIC, [2, 1])


def test_labels_point_at_what_is_served() -> None:
    available_labels("m", ListedModel(labels={"a": 1, "b": 1}), [1])
    available_labels("m", ListedModel(), [])
    with pytest.raises(errors.LabelTooEarly, match="then point b at it"):
        available_labels("m", ListedModel(labels={"a": 1, "b": 2}), [1])
