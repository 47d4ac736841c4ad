from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.models.load_record import LoadRecord
from inference_service.models.publication import Publication
from inference_service.models.status import State, VersionStatus
from service_kit import errors

ONE, TWO, OTHER = Publication("m", 1, "a"), Publication("m", 2, "a"), Publication("n", 1, "a")
STORE = errors.StoreUnavailable("timeout")
ENGINE = errors.EngineFailed("out of memory")
DAMAGED = errors.ArtifactCorrupt("digest")


class Book:
    """A record and its clock."""

    def __init__(self) -> None:
        self.now = 5.0
        self.record = LoadRecord(lambda: self.now)

    def fail(self, error: errors.PbserveError, publication: Publication = ONE) -> float | None:
        """Returns the seconds that the record then says are left until the next try."""
        self.record.fail(publication, error)
        return self.status(publication).retry_in

    def status(self, publication: Publication = ONE) -> VersionStatus:
        return self.record.statuses(publication.model)[publication.version]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (STORE, [1, 2, 4, 8, 16, 32, 60, 60]),
        (ENGINE, [30, 60, 120, 240, 480, 900, 900]),
        (DAMAGED, [None, None]),
        (errors.ArtifactNotFound("gone"), [None]),
        (errors.LoadTimedOut("too long"), [None]),
        (errors.ServerStopping("bye"), [None]),
    ],
)
def test_the_wait_grows_by_what_went_wrong(
    book: Book, error: errors.PbserveError, waits: list[float | None]
) -> None:
    assert [book.fail(error) for _ in waits] == waits


def test_it_waits_until_the_time_has_come(book: Book) -> None:
    book.fail(STORE)
    left = []
    for book.now in (5, 5.25, 6, 99):
        left.append(book.status().retry_in)
    assert left == [1, 0.75, 0, 0]
    book.now = 5.75
    assert book.record.waiting() == {ONE}
    book.now = 6
    assert book.record.waiting() == set()


def test_nothing_is_known_of_what_was_not_tried(book: Book) -> None:
    assert book.record.waiting() == set()
    assert book.record.failure(ONE) is None
    assert book.record.statuses("m") == {}


def test_what_will_not_change_by_itself_waits_for_ever(book: Book) -> None:
    book.fail(DAMAGED)
    book.now = 1e12
    assert book.record.waiting() == {ONE}


def test_a_number_that_is_published_again_is_another_publication(book: Book) -> None:
    book.fail(DAMAGED)
    again = Publication("m", 1, "b")
    assert again not in book.record.waiting()
    assert book.record.failure(again) is None
    # What is known of the number is still told, until it is tried.
    book.record.keep({"m": {1: "b"}})
    assert book.record.waiting() == set()
    assert (book.status().state, book.status().reason) == (State.FAILED, "digest")
    assert book.fail(ENGINE, again) == 30


def test_the_count_goes_on_over_different_errors(book: Book) -> None:
    assert [book.fail(one) for one in (STORE, STORE, ENGINE)] == [1, 2, 120]


def test_only_what_is_still_published_is_remembered(book: Book) -> None:
    for publication in (ONE, TWO):
        book.fail(STORE, publication)
    book.record.keep({"m": {2: "a"}})
    assert book.record.waiting() == {TWO}
    assert book.record.versions() == {("m", 2)}
    assert book.fail(STORE) == 1
    assert book.fail(STORE, TWO) == 2


def test_a_load_under_way_is_told_of_though_its_version_is_gone(book: Book) -> None:
    book.record.begin(ONE)
    book.record.keep({})
    assert book.status() == VersionStatus(1, State.LOADING)


def test_a_model_that_is_asked_for_again_begins_anew(book: Book) -> None:
    for publication in (ONE, TWO, OTHER):
        book.fail(DAMAGED, publication)
    book.record.allow_retry("m")
    assert book.record.waiting() == {OTHER}
    assert book.record.failure(ONE) is None
    # Until its turn comes it is still what it was.
    assert book.status().reason == "digest"
    assert book.fail(ENGINE) == 30


def test_another_try_hides_why_the_last_one_failed_and_does_not_forget_it(book: Book) -> None:
    book.fail(ENGINE)
    book.record.begin(ONE)
    assert book.status() == VersionStatus(1, State.LOADING)
    assert isinstance(book.record.failure(ONE), errors.EngineFailed)
    assert book.fail(ENGINE) == 60


def test_what_is_served_has_not_failed(book: Book) -> None:
    book.fail(ENGINE)
    book.record.end("m", 1)
    assert book.record.versions() == set()
    assert book.record.failure(ONE) is None


class Graph:
    """What a load has in memory."""


def test_why_it_failed_is_kept_without_what_the_load_had_in_memory(book: Book) -> None:
    kept: list[weakref.ref[Graph]] = []

    def load() -> None:
        graph = Graph()
        kept.append(weakref.ref(graph))
        raise errors.EngineFailed("out of memory", retry_after=3)

    try:
        load()
    except errors.EngineFailed as error:
        book.fail(error)
    gc.collect()
    assert kept[0]() is None
    found = book.record.failure(ONE)
    assert isinstance(found, errors.EngineFailed)
    assert (found.message, found.retry_after) == ("out of memory", 3)
    # Who raises it leaves no traces in the next one's.
    assert book.record.failure(ONE) is not found


@given(st.lists(st.tuples(st.sampled_from([STORE, ENGINE]), st.floats(0, 1e6)), max_size=9))
def test_the_next_try_is_when_it_was_said_to_be(
    failed: list[tuple[errors.PbserveError, float]],
) -> None:
    book = Book()
    for error, now in failed:
        book.now = now
        wait = book.fail(error)
        assert wait is not None
        assert book.record.waiting() == {ONE}
        book.now = now + wait + 1e-6
        assert book.record.waiting() == set()


def test_failing_for_years_is_no_different(book: Book) -> None:
    assert {book.fail(STORE) for _ in range(3000)} == {1, 2, 4, 8, 16, 32, 60}
