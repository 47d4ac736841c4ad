"""The dimensions of a placeholder that takes a port's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.specs.conversion import TowerOptions
from service_kit import errors

_IMAGE_RANK = 4


def input_shape(
    name: str, feed: Feed, given: Mapping[str, tuple[int, ...]], options: TowerOptions
) -> list[int]:
    """Returns an input's dimensions, -1 for any; the first is the batch and always -1.

    Args:
        name: what requests call the input.
        feed: the port, with what the graph knows of its shape.
        given: shapes that the user named, by input or tensor.
        options: has the image size, for dimensions 1 and 2 of images.

    Raises:
        Unconvertible: the shape is not known, has no batch, or is not the one asked for.
    """
    named = given.get(name, given.get(feed.port.tensor_name, given.get(feed.port.node)))
    stated = feed.shape
    if named is not None:
        # Any batch may be asked for, whatever the graph was made for.
        if stated is not None and not sizes_agree(stated[1:], named[1:]):
            raise errors.Unconvertible(
                f"input {name} is {list(stated)} in the graph, and cannot be {list(named)}"
            )
        stated = named
    if stated is None:
        raise errors.Unconvertible(
            f"the graph does not know the shape of input {feed}: name it as one of the shapes, "
            "batch first, -1 for any size"
        )
    if not stated:
        raise errors.Unconvertible(
            f"input {feed} is a single number, without a batch: bind it to a value"
        )
    shape = [-1, *stated[1:]]
    if len(shape) != _IMAGE_RANK:
        return shape
    if options.free_image_size:
        shape[1:3] = [-1, -1]
    if options.image_size:
        if not sizes_agree(shape[1:3], options.image_size):
            raise errors.Unconvertible(
                f"input {name} takes images of {shape[1]}x{shape[2]}, and not of "
                f"{options.image_size[0]}x{options.image_size[1]}"
            )
        shape[1:3] = options.image_size
    return shape


def sizes_agree(stated: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether two shapes can be the same; -1 is any size."""
    return len(stated) == len(wanted) and all(
        one < 0 or other < 0 or one == other for one, other in zip(stated, wanted, strict=True)
    )
