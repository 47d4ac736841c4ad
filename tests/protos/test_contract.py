from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PROTOS = Path(__file__).resolve().parent.parent.parent / "protos"


def generate(*arguments: str) -> None:
    """Runs the generator as `make protos` does; its compiler and TensorFlow share no process."""
    subprocess.run([sys.executable, str(PROTOS / "generate.py"), *arguments], check=True)


def test_the_committed_stubs_are_those_of_the_protos(tmp_path: Path) -> None:
    generate(str(tmp_path))
    fresh = {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*_pb2*")}
    committed = {
        str(p.relative_to(PROTOS)): p.read_text()
        for p in PROTOS.rglob("*_pb2*")
        if p.suffix in {".py", ".pyi"}
    }
    assert fresh == committed, "the protos changed: run `make protos`"
    image = "pbserve/tensorflow.binpb"
    assert (tmp_path / image).read_bytes() == (PROTOS / image).read_bytes(), "run `make protos`"


def test_the_protos_keep_bufs_rules(tmp_path: Path) -> None:
    image = tmp_path / "image.binpb"
    generate("--describe", str(image))
    buf = shutil.which("buf", path=str(Path(sys.executable).parent))
    assert buf
    command = [buf, "lint", str(image), "--config", str(PROTOS / "buf.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_gencode_runs_on_protobuf_6_and_7() -> None:
    # A runtime takes gencode of its own major release and of the one before.
    for stub in PROTOS.rglob("*_pb2.py"):
        assert "# Protobuf Python Version: 6.31.1" in stub.read_text()


def test_every_rpc_is_answered_by_its_servicer() -> None:
    from exporter_service.service.servicer import ExporterServicer
    from inference_service.protocols.native.servicer import InferenceServicer
    from pbserve.exporter.v1 import exporter_pb2, exporter_pb2_grpc
    from pbserve.inference.v1 import inference_pb2, inference_pb2_grpc

    for module, base, servicer in (
        (exporter_pb2, exporter_pb2_grpc.ExporterServiceServicer, ExporterServicer),
        (inference_pb2, inference_pb2_grpc.InferenceServiceServicer, InferenceServicer),
    ):
        (service,) = module.DESCRIPTOR.services_by_name.values()
        for method in service.methods:
            assert getattr(servicer, method.name) is not getattr(base, method.name), method.name
