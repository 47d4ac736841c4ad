"""Streams an archive: `python examples/clients/asyncio_stream.py HOST:PORT MODEL IMAGES.npz`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_service.client import AsyncInferenceClient


# --8<-- [start:stream]
async def arriving(images: npt.NDArray[Any]) -> AsyncIterator[npt.NDArray[Any]]:
    """Stands for what comes from a camera or a queue: one group of one image at a time."""
    for n in range(len(images)):
        yield images[n : n + 1]


async def main(address: str, model: str, archive: str) -> None:
    """Prints how many images were answered as which class."""
    with np.load(archive) as arrays:
        images = arrays["images"]
    classes: dict[int, int] = {}
    async with AsyncInferenceClient(address) as client:
        await client.wait_until_ready(model)
        async for answer in client.stream(model, arriving(images), window=16, top=1):
            best = answer.result().top[0][0].index
            classes[best] = classes.get(best, 0) + 1
    print(f"{sum(classes.values())} images: {dict(sorted(classes.items()))}")


# --8<-- [end:stream]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
