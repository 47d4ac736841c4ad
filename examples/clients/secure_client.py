"""Asks over TLS: `python examples/clients/secure_client.py HOST:PORT NAME ROOT.pem TOKEN-FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from inference_service.client import InferenceClient, RetryPolicy, Tls


# --8<-- [start:connect]
def main(address: str, server_name: str, root: str, token_file: str) -> None:
    """Prints what the server serves."""
    client = InferenceClient(
        address,
        tls=Tls(root_certificates=root, server_name=server_name),
        # Read before each call, so that it may be rotated.
        token=lambda: Path(token_file).read_text().strip(),
        timeout=10,
        retry=RetryPolicy(attempts=3),
    )
    with client:
        for model in client.models():
            print(f"{model.name}: version {model.default_version}")


# --8<-- [end:connect]


if __name__ == "__main__":
    main(*sys.argv[1:])
