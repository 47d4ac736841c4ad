"""Which formats there are, as values: nothing here loads TensorFlow."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy.typing as npt

from service_kit import errors
from service_kit.artifacts.manifest import Tower

Feeds = Mapping[str, npt.NDArray[Any]]
Answers = list[dict[str, npt.NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class _Definition:
    """One format: its file, its functions as `module:function`, and what they need.

    Attributes:
        file_name: in the artifact's folder, which is flat.
        writer: (graph_def, towers, folder) -> path of the file.
        prover: (folder, towers, feeds) -> answers, by the format's own runtime.
        extra: of pbserve, with the packages; empty: nothing beyond pbserve's own dependencies.
        packages: as they are imported.
    """

    file_name: str
    writer: str
    prover: str
    extra: str = ""
    packages: tuple[str, ...] = ()


class ExtraFormat(enum.Enum):
    """A format that a conversion can write besides the frozen graph."""

    SAVED_MODEL = "SAVED_MODEL"
    ONNX = "ONNX"

    @property
    def file_name(self) -> str:
        """The one file that the format consists of."""
        return _DEFINITIONS[self].file_name

    def check_installed(self) -> None:
        """Passes if what the format needs is installed; imports nothing.

        Raises:
            Unconvertible: it is not; the message says how to install it.
        """
        needed = _DEFINITIONS[self]
        missing = [package for package in needed.packages if find_spec(package) is None]
        if missing:
            raise errors.Unconvertible(
                f"{self.value} needs {', '.join(missing)}, which the exporter does not have: "
                f"pip install 'pbserve[{needed.extra}]'"
            )

    def write(self, graph_def: Any, towers: Sequence[Tower], folder: Path) -> Path:
        """Writes the format's file into `folder` and returns its path; loads TensorFlow.

        Args:
            graph_def: a frozen GraphDef; is not changed.
            towers: its tensors.
            folder: exists.

        Raises:
            Unconvertible: the format cannot hold this graph, or needs what is not installed.
            ScratchUnavailable: the file cannot be written.
        """
        path: Path = _load(_DEFINITIONS[self].writer)(graph_def, towers, folder)
        return path

    def answers(self, folder: Path, towers: Sequence[Tower], feeds: Feeds) -> Answers:
        """Returns what the written file answers in the format's own runtime, on the CPU.

        Args:
            folder: what `write` was given.
            towers: what `write` was given.
            feeds: semantic name of an input -> array of its dtype, [batch, ...]; the same for
                every tower.

        Returns:
            For each tower that the format holds, in order: semantic name of an output -> array.

        Raises:
            Unconvertible: the runtime cannot run the file, or is not installed.
        """
        answers: Answers = _load(_DEFINITIONS[self].prover)(folder, towers, feeds)
        return answers


_DEFINITIONS: Mapping[ExtraFormat, _Definition] = {
    ExtraFormat.SAVED_MODEL: _Definition(
        file_name="saved_model.pb",
        writer="exporter_service.formats.saved_model:write_saved_model",
        prover="exporter_service.formats.saved_model:answers_of_saved_model",
    ),
    ExtraFormat.ONNX: _Definition(
        file_name="model.onnx",
        writer="exporter_service.formats.onnx_model:write_onnx",
        prover="exporter_service.formats.onnx_model:answers_of_onnx",
        extra="onnx",
        packages=("tf2onnx", "onnx", "onnxruntime"),
    ),
}


def _load(path: str) -> Any:
    module, _, function = path.partition(":")
    return getattr(import_module(module), function)
