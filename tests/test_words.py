"""The words that this code has left behind, and that none of its identifiers may have again.

Each has a word of the field in its place. Plain English is free: a name may speak of an order, a
place or a core, as long as it is not the name of the old class or module.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "service_kit",
    "exporter_service",
    "inference_service",
    "protos",
    "examples",
    "benchmarks",
    "deploy",
    "docs",
    "tests",
)
# Old word, as a pattern of a whole identifier -> what it is called now.
OLD: Mapping[str, str] = {
    r"_?(Image)?Questions?|image_questions?|questions?": "InferenceRequest",
    r"_?Course|course": "RequestOutcome",
    r"_?(Booking|Booked)|bookings?|booked": "Reservation, ReservedShare",
    r"_?CardPlaces|card_places": "Admission",
    r"_?Lanes?|LANE": "CardSpec, LoadedModel",
    r"_?Pending|pending": "QueuedRequest",
    r"_?StreamLedger|stream_ledger|ledger": "InFlightRequests",
    r"_?[Mm]ixtures?": "average_arithmetic",
    r"_?twins?|_?TWIN|(\w+_)?twin(_\w+)?": "evaluation_copy",
    r"_?surgery|_?operate": "to_inference",
    r"_?Gate": "InFlightCalls",
    r"_?tries|_?TRIES": "attempts",
    r"_?heap": "malloc_trim",
    r"_?ConversionOrder|conversion_order": "ConversionSpec",
    r"_?(most|MOST)_\w+": "max_*, one name from flag to field",
    r"made_answer": "make_result",
}
# Old names of modules whose words are plain English elsewhere -> what they are called now.
OLD_MODULES: Mapping[str, str] = {
    "gate": "in_flight",
    "cores": "cpu_quota",
    "course": "outcome",
    "lane": "card_spec",
    "question": "request",
    "operate": "to_inference",
}
# Identifier -> why it stays.
KEPT: Mapping[str, str] = {
    "twin": "a field of pbserve.artifact.v1.MetaGraphReport, and of manifests that are written",
    "compare_twin": "a parameter of META_GRAPH, which users give",
}
# `twin` is kept where the manifest is: everything else has no need of the field's name.
WHERE_KEPT: Mapping[str, frozenset[str]] = {
    "twin": frozenset(
        {
            "exporter_service/cli/tables.py",
            "exporter_service/meta_graph/towers/build.py",
            "service_kit/artifacts/manifest.py",
            "service_kit/artifacts/manifest_codec.py",
            "tests",
        }
    ),
}


def sources() -> Iterator[Path]:
    """Our own Python; the stubs' names are those of the contract."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name:
                yield path


@cache
def identifiers() -> Mapping[str, frozenset[str]]:
    """Every identifier, with the paths it is in; names of tests are sentences, and not read."""
    found: dict[str, set[str]] = {}
    for path in sources():
        where = str(path.relative_to(ROOT))
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type == tokenize.NAME and not token.string.startswith("test_"):
                    found.setdefault(token.string, set()).add(where)
    return {name: frozenset(paths) for name, paths in found.items()}


@pytest.mark.parametrize("old", OLD)
def test_no_identifier_is_an_old_word(old: str) -> None:
    left = {
        name: sorted(paths)
        for name, paths in identifiers().items()
        if re.fullmatch(old, name) and name not in KEPT
    }
    assert not left, f"say {OLD[old]}"


def test_no_module_has_an_old_name() -> None:
    old = {
        str(path.relative_to(ROOT)): name
        for path in sources()
        if (name := path.stem.removeprefix("test_")) in OLD_MODULES
        or any(re.fullmatch(pattern, name) for pattern in OLD)
    }
    assert not old


@pytest.mark.parametrize("name", WHERE_KEPT)
def test_what_is_kept_is_kept_where_it_has_to_be(name: str) -> None:
    elsewhere = [
        path for path in identifiers().get(name, ()) if not path.startswith(tuple(WHERE_KEPT[name]))
    ]
    assert not elsewhere


def test_what_is_kept_is_still_there() -> None:
    assert identifiers().keys() >= KEPT.keys()
