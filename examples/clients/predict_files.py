"""Asks about image files: `python examples/clients/predict_files.py HOST:PORT MODEL FILE...`."""

from __future__ import annotations

import sys

from inference_service.client import InferenceClient


# --8<-- [start:predict]
def main(address: str, model: str, files: list[str]) -> None:
    """Prints the best class of each file; all go in one request."""
    with InferenceClient(address, timeout=30) as client:
        client.wait_until_ready(model)
        prediction = client.predict(model, files, image_fit="crop", top=1)
        for file, (best,) in zip(files, prediction.top, strict=True):
            print(f"{file}: class {best.index} {best.label} {best.score:.5f}")
        print(f"version {prediction.version}, card {prediction.card}")


# --8<-- [end:predict]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
