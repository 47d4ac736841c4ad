"""What comes from outside, changed at random: it is read, or refused in words of ours.

Seeds are the golden files and what lies in `corpus/<target>`; a case that was found goes there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter_service.checkpoints.bundle_index import read_layout
from exporter_service.meta_graph.reading.meta_file import parse_meta
from inference_service.protocols.native import codec
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import Manifest
from tests.support.digits import GOLDEN

CORPUS = Path(__file__).parent / "corpus"
# The largest graph takes milliseconds to parse.
_EXAMPLES = {"meta_graph": 60}

Target = Callable[[bytes, Path], object]


def _manifest(content: bytes, _: Path) -> object:
    found = manifest_codec.from_json(content, "m/1/manifest.json")
    # What was read can be written, and is the same then.
    assert manifest_codec.from_json(manifest_codec.to_json(found), "again") == found
    assert isinstance(found, Manifest)
    return found


def _checkpoint_index(content: bytes, folder: Path) -> object:
    path = folder / "model.ckpt-1.index"
    path.write_bytes(content)
    return read_layout(path)


def _meta_graph(content: bytes, folder: Path) -> object:
    from exporter_service.meta_graph.towers.survey import survey

    path = folder / "model.ckpt-1.meta"
    path.write_bytes(content)
    return survey(parse_meta(path))


def _predict_request(content: bytes, _: Path) -> object:
    return codec.inference_request(pb.PredictRequest.FromString(content))


# Each with the errors of others that its callers expect.
TARGETS: dict[str, tuple[Target, tuple[type[Exception], ...]]] = {
    "manifest": (_manifest, ()),
    "checkpoint_index": (_checkpoint_index, (ValueError,)),
    "meta_graph": (_meta_graph, ()),
    "predict_request": (_predict_request, (DecodeError,)),
}


def seeds(target: str) -> list[bytes]:
    """Returns what is changed: at least one thing that can be read as it is."""
    found = [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]
    if target == "checkpoint_index":
        found += [path.read_bytes() for path in sorted(GOLDEN.glob("*/*.index"))]
    return found


def mutated(whole: bytes) -> st.SearchStrategy[bytes]:
    """Returns a few changes, each a place, a length that goes, and bytes that come."""
    change = st.tuples(
        st.integers(0, max(0, len(whole) - 1)), st.integers(0, 32), st.binary(max_size=32)
    )

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        content = whole
        for place, length, comes in changes:
            content = content[:place] + comes + content[place + length :]
        return content

    return st.lists(change, min_size=1, max_size=4).map(apply)


def read(target: str, content: bytes, folder: Path) -> None:
    function, others = TARGETS[target]
    try:
        function(content, folder)
    except Exception as error:
        if not isinstance(error, (errors.PbserveError, *others)):
            raise


def cases() -> Iterator[Any]:
    for target in TARGETS:
        for number, whole in enumerate(seeds(target)):
            yield pytest.param(target, whole, id=f"{target}-{number}")


@pytest.mark.parametrize(("target", "whole"), [*cases()])
@pytest.mark.timeout(300)
def test_what_is_changed_at_random_is_read_or_refused(
    target: str, whole: bytes, tmp_path: Path
) -> None:
    read(target, whole, tmp_path)

    @settings(
        max_examples=_EXAMPLES.get(target, 400),
        deadline=None,
        suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow],
    )
    @given(content=st.one_of(mutated(whole), st.binary(max_size=200)))
    def go(content: bytes) -> None:
        read(target, content, tmp_path)

    go()


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_seed(target: str) -> None:
    assert seeds(target)
