from __future__ import annotations

import subprocess
import sys

import pytest

import exporter_service.client
import inference_service.client
import pbserve
import service_kit


def test_the_package_hands_on_the_clients_and_the_version() -> None:
    assert pbserve.InferenceClient is inference_service.client.InferenceClient
    assert pbserve.AsyncInferenceClient is inference_service.client.AsyncInferenceClient
    assert pbserve.ExporterClient is exporter_service.client.ExporterClient
    assert pbserve.AsyncExporterClient is exporter_service.client.AsyncExporterClient
    assert pbserve.__version__ == service_kit.__version__
    assert set(pbserve.__all__) <= set(dir(pbserve))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'pbserve' has no attribute 'Client'"):
        _ = pbserve.Client  # type: ignore[attr-defined]


def test_a_stub_costs_no_client_and_a_client_no_tensorflow() -> None:
    lines = (
        "import sys, pbserve.inference.v1.inference_pb2 as pb",
        "assert not {'grpc', 'inference_service'} & sys.modules.keys()",
        "from pbserve import InferenceClient, ExporterClient",
        "assert not {'tensorflow', 'aiohttp'} & sys.modules.keys()",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
