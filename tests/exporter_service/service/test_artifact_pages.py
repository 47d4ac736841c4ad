from __future__ import annotations

from pathlib import Path

import pytest

from exporter_service.service.artifact_pages import ArtifactPage, read_page
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.manifests import conversion, graph_file


@pytest.fixture
def full(store: ArtifactStore, tmp_path: Path) -> ArtifactStore:
    """Two models whose names and versions do not sort as texts do."""
    for model, versions in (("m", (1, 2, 10)), ("m-2", (9,)), ("m.1", (1,))):
        for version in versions:
            store.publish(model, conversion(), graph_file(tmp_path), version)
    return store


def names(page: ArtifactPage) -> list[str]:
    return [f"{one.model}/{one.version}" for one in page.manifests]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1000])
def test_pages_have_everything_once_and_in_order(full: ArtifactStore, size: int) -> None:
    found: list[str] = []
    token = ""
    while True:
        page = read_page(full, "", token, size)
        assert len(page.manifests) <= size
        found += names(page)
        token = page.next_token
        if not token:
            break
    assert found == ["m/1", "m/2", "m/10", "m-2/9", "m.1/1"]
    assert names(read_page(full, "", "", 0)) == found


def test_a_page_may_be_of_one_model(full: ArtifactStore) -> None:
    page = read_page(full, "m", "", 2)
    assert (names(page), page.next_token) == (["m/1", "m/2"], "m/2")
    assert names(read_page(full, "m", page.next_token, 2)) == ["m/10"]


def test_what_goes_between_two_pages_is_on_none(full: ArtifactStore) -> None:
    page = read_page(full, "", "", 2)
    full.delete("m", 2)
    full.delete("m", 10)
    assert names(read_page(full, "", page.next_token, 2)) == ["m-2/9", "m.1/1"]


def test_what_cannot_be_read_has_a_line_and_a_place_on_its_page(full: ArtifactStore) -> None:
    (Path(full.url) / "m" / "2" / "manifest.json").write_text("{")
    page = read_page(full, "", "", 2)
    assert names(page) == ["m/1"]
    assert len(page.unreadable) == 1
    assert page.unreadable[0].startswith("m/2: ")
    assert read_page(full, "", page.next_token, 1).manifests[0].version == 10


@pytest.mark.parametrize("token", ["x", "m/", "m/0", "/1", "m/1/2", "../m/1", "m/1\n"])
def test_a_token_of_somebody_elses_is_refused(full: ArtifactStore, token: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="page_token is none"):
        read_page(full, "", token, 1)


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_size_out_of_range_is_refused(full: ArtifactStore, size: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="1 to 1000"):
        read_page(full, "", "", size)
