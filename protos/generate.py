"""Regenerates the committed stubs: `python protos/generate.py [DESTINATION]`.

Or writes the input of `buf lint`: `python protos/generate.py --describe IMAGE`.

Needs the `dev` extra, which pins the generator. `make protos` calls it, and a test calls it
with another destination to see whether the committed stubs are still those of the protos.
"""

import sys
from importlib.resources import files
from pathlib import Path

import google
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
# Found beside this interpreter, whether or not its environment is activated.
_BIN = Path(sys.executable).parent
_PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
# Messages of others that are used without their stubs, as descriptors alone.
_FOREIGN = ROOT / "foreign"
FOREIGN_IMAGE = "pbserve/tensorflow.binpb"
_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def includes() -> list[str]:
    """Returns protoc's import options: our protos, `google/protobuf` and `google/rpc`."""
    # `google` is a namespace package shared by several distributions.
    shared = [Path(folder).parent for folder in google.__path__]
    with_rpc = next(folder for folder in shared if (folder / "google/rpc/status.proto").exists())
    return [f"-I{ROOT}", f"-I{files('grpc_tools') / '_proto'}", f"-I{with_rpc}"]


def sources() -> list[str]:
    """Returns the proto files, relative to this folder."""
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("pbserve/**/*.proto"))


def generate(destination: Path) -> None:
    """Writes stubs, with types, for every proto below `destination`, and what others' protos say.

    Raises:
        RuntimeError: the compiler found an error; it has printed it.
    """
    out = str(destination)
    arguments = [
        "protoc",
        *includes(),
        *(f"--plugin={plugin}={_BIN / plugin}" for plugin in _PLUGINS),
        f"--python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--grpc_python_out={out}",
        f"--mypy_grpc_out=quiet:{out}",
        *sources(),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed; see its message above")
    for source in sources():
        if "\nservice " not in (ROOT / source).read_text():
            # protoc writes service stubs for files without a service as well.
            for suffix in _SUFFIXES[2:]:
                (destination / source.replace(".proto", suffix)).unlink(missing_ok=True)
    _describe_foreign(destination / FOREIGN_IMAGE)


def _describe_foreign(image: Path) -> None:
    found = sorted(str(path.relative_to(_FOREIGN)) for path in _FOREIGN.rglob("*.proto"))
    options = [f"-I{_FOREIGN}", *includes()[1:], "--include_imports", f"-o{image}"]
    if protoc.main(["protoc", *options, *found]) != 0:
        raise RuntimeError("protoc failed; see its message above")


def describe(image: Path) -> None:
    """Writes all descriptors with their comments to `image`, the input of `buf lint`."""
    options = ["--include_imports", "--include_source_info", f"-o{image}"]
    if protoc.main(["protoc", *includes(), *options, *sources()]) != 0:
        raise RuntimeError("protoc failed; see its message above")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--describe"]:
        describe(Path(sys.argv[2]))
    else:
        generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
