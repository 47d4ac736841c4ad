"""Groups of images of an asyncio caller, read without ever blocking its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from inference_service.client.image_inputs import Inputs, needs_files

Item = TypeVar("Item")
Request = TypeVar("Request")
_END: Any = object()


async def request_of(images: Inputs, make: Callable[[], Request]) -> Request:
    """Returns what `make` makes of images; in a thread, where it reads files."""
    return await asyncio.to_thread(make) if needs_files(images) else make()


async def items(source: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item, None]:
    """Yields what an iterable has; what is not there yet, of a generator, is read in threads."""
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    elif isinstance(source, (Sequence, np.ndarray)):
        for item in source:
            yield item
    else:
        iterator = await asyncio.to_thread(iter, source)
        while (item := await asyncio.to_thread(next, iterator, _END)) is not _END:
            yield item
