from __future__ import annotations

import pytest

from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.meta_graph.reading.node_graph import Port
from exporter_service.meta_graph.towers.shapes import input_shape
from exporter_service.specs.conversion import TowerOptions
from service_kit import errors


def shape_of(
    stated: tuple[int, ...] | None,
    given: dict[str, tuple[int, ...]] | None = None,
    options: TowerOptions = TowerOptions(),  # noqa: B008
) -> list[int]:
    feed = Feed(Port("it", 1), "IteratorGetNext", "float32", stated, {})
    return input_shape("x", feed, given or {}, options)


def test_the_batch_is_free_whatever_the_graph_was_made_for() -> None:
    assert shape_of((32, 28, 28)) == [-1, 28, 28]
    assert shape_of((-1,)) == [-1]


@pytest.mark.parametrize("name", ["x", "it:1"])
def test_an_unknown_shape_is_the_users_to_name(name: str) -> None:
    assert shape_of(None, {name: (-1, 5)}) == [-1, 5]
    assert shape_of((-1, -1), {name: (4, 7)}) == [-1, 7]


def test_image_sizes_fix_what_is_open() -> None:
    sized = TowerOptions(image_size=(20, 30))
    assert shape_of((8, -1, -1, 3), options=sized) == [-1, 20, 30, 3]
    assert shape_of((8, 5), options=sized) == [-1, 5]
    assert shape_of((8, 9, 9, 3), options=TowerOptions(free_image_size=True)) == [-1, -1, -1, 3]
    with pytest.raises(errors.Unconvertible, match="images of 9x9, and not of 20x30"):
        shape_of((8, 9, 9, 3), options=sized)


@pytest.mark.parametrize(
    ("stated", "given", "words"),
    [
        (None, {}, "does not know the shape of input it:1"),
        ((), {}, "a single number, without a batch: bind it"),
        ((-1, 3), {"x": (-1, 4)}, r"is \[-1, 3\] in the graph, and cannot be \[-1, 4\]"),
    ],
)
def test_shapes_that_cannot_be_are_named(
    stated: tuple[int, ...] | None, given: dict[str, tuple[int, ...]], words: str
) -> None:
    with pytest.raises(errors.Unconvertible, match=words):
        shape_of(stated, given)
