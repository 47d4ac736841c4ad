"""Asks about a folder: `python examples/clients/stream_folder.py HOST:PORT MODEL FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from inference_service.client import InferenceClient


# --8<-- [start:stream]
def main(address: str, model: str, folder: Path) -> None:
    """Prints the best class of each file, in their order; one that fails costs nothing else."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    with InferenceClient(address) as client:
        answers = client.stream(model, files, in_request_order=True, image_fit="crop", top=1)
        for answer in answers:
            file = files[answer.index].name
            if answer.prediction:
                best = answer.prediction.top[0][0]
                print(f"{file}: class {best.index} {best.score:.5f}")
            else:
                print(f"{file}: {answer.error}")


# --8<-- [end:stream]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
