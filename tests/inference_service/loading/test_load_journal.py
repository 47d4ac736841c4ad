from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from inference_service.loading.death_record import read_suspects
from inference_service.loading.load_journal import (
    LoadJournal,
    default_state_folder,
    journal_folder,
)
from service_kit import errors

# Loads something, says so, and dies as it is told, or ends in order.
_SERVER = """
import contextlib, os, pathlib, signal, sys
from inference_service.loading.load_journal import LoadJournal
journal = LoadJournal(pathlib.Path(sys.argv[1]))
journal.open()
with contextlib.ExitStack() as loads:
    for digest in sys.argv[3:]:
        loads.enter_context(journal.loading("m", 1, digest))
    if sys.argv[2] == "exit":
        journal.close()
        os._exit(1)
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
"""


def die(folder: Path, how: str, *digests: str) -> None:
    code = [sys.executable, "-c", _SERVER, str(folder), how, *digests]
    done = subprocess.run(code, check=False, capture_output=True, timeout=60)
    assert done.returncode == (1 if how == "exit" else -signal.Signals[how]), done.stderr


_OPENED: list[LoadJournal] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _OPENED:
        _OPENED.pop().close()


def opened(folder: Path, now: float | None = None) -> LoadJournal:
    journal = LoadJournal(folder) if now is None else LoadJournal(folder, clock=lambda: now)
    _OPENED.append(journal)
    journal.open()
    return journal


def load(journal: LoadJournal, digest: str = "abc") -> None:
    with journal.loading("m", 1, digest):
        pass


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_what_two_processes_died_of_is_not_loaded_again(tmp_path: Path, how: str) -> None:
    die(tmp_path, how, "abc")
    once = opened(tmp_path)
    assert once.is_suspect("m", 1)
    once.close()
    die(tmp_path, how, "abc")
    with structlog.testing.capture_logs() as logs:
        journal = opened(tmp_path, now=0.0)
    assert [one["event"] for one in logs] == ["server_died_while_loading"]
    with pytest.raises(errors.Quarantined, match="pbserve load m") as caught:
        load(journal)
    # Whoever kills from outside may have another reason.
    assert (caught.value.retry_after is None) == (how != "SIGKILL")
    load(journal, "another graph")
    assert ("Fatal Python error" in logs[0]["message"]) == (how != "SIGKILL")


def test_who_asks_has_it_tried_once_more(tmp_path: Path) -> None:
    for _ in range(2):
        die(tmp_path, "SIGSEGV", "abc")
        opened(tmp_path).close()
    asked = opened(tmp_path)
    asked.try_again("another")
    with pytest.raises(errors.Quarantined):
        load(asked)
    asked.try_again("m")
    asked.close()
    die(tmp_path, "SIGSEGV", "abc")
    with pytest.raises(errors.Quarantined):
        load(opened(tmp_path))


def test_a_load_that_goes_well_is_forgiven(tmp_path: Path) -> None:
    die(tmp_path, "SIGSEGV", "abc")
    load(opened(tmp_path))
    die(tmp_path, "SIGSEGV", "abc")
    journal = opened(tmp_path)
    load(journal)
    assert not journal.is_suspect("m", 1)
    assert read_suspects(tmp_path) == {}


def test_a_process_that_is_told_to_end_has_died_of_nothing(tmp_path: Path) -> None:
    for _ in range(3):
        die(tmp_path, "exit", "abc")
    journal = opened(tmp_path)
    load(journal)
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deaths.json", "deaths.lock"]


def test_of_what_was_loaded_in_company_nothing_is_kept_out_for_two_deaths(tmp_path: Path) -> None:
    for _ in range(2):
        die(tmp_path, "SIGSEGV", "abc", "def")
    journal = opened(tmp_path)
    load(journal, "abc")
    journal.close()
    die(tmp_path, "SIGSEGV", "def")
    with pytest.raises(errors.Quarantined):
        load(opened(tmp_path), "def")


def test_a_process_that_lives_has_not_died(tmp_path: Path) -> None:
    living = opened(tmp_path)
    with living.loading("m", 1, "abc"):
        assert not opened(tmp_path).is_suspect("m", 1)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"abc": {"deaths": 2}}', '{"abc": 1}'])
def test_a_damaged_record_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "deaths.json").write_text(content)
    (tmp_path / "0.running").write_text(content)
    load(opened(tmp_path))


def test_a_folder_that_cannot_be_used_keeps_nothing_from_being_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with structlog.testing.capture_logs() as logs:
        journal = opened(tmp_path / "file" / "journal")
    assert [one["event"] for one in logs] == ["load_journal_unusable"]
    load(journal)
    journal.try_again("m")
    journal.close()


def test_stores_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = journal_folder(tmp_path, "models")
    assert one == journal_folder(tmp_path, str(tmp_path / "models"))
    assert len({one, journal_folder(tmp_path, "s3://models"), journal_folder(tmp_path, "m")}) == 3


def test_who_has_no_home_has_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_state_folder() == Path("~/.local/state/pbserve").expanduser()

    def no_home(_: Path) -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert default_state_folder().is_absolute()
    assert os.access(default_state_folder().parent, os.W_OK)
