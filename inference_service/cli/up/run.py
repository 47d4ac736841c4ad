"""What `pbserve up` does, from the path to Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from inference_service.cli.options import ANSWER_SECONDS
from inference_service.cli.up.exporter_calls import ExporterCalls
from inference_service.cli.up.first_requests import Served, first_requests
from inference_service.cli.up.plan import (
    META_GRAPH,
    Candidate,
    Inspection,
    Wishes,
    answered,
    open_question,
    plan_conversion,
    with_candidates,
)
from inference_service.cli.up.services import ServiceProcess, Services
from inference_service.cli.up.source import Source
from inference_service.client import InferenceClient
from inference_service.client.results import Version
from service_kit import errors
from service_kit.address import parse_address
from service_kit.cli.console import notices, print_line
from service_kit.terminal_text import printable

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Ports:
    """Addresses, `host:port` on this machine, for predictions, conversions and the page."""

    inference: str
    exporter: str
    page: str

    def check(self) -> None:
        """Raises InvalidRequest for what is no address, or is open to other machines."""
        for text in (self.inference, self.exporter, self.page):
            if not parse_address(text).is_loopback:
                raise errors.InvalidRequest(
                    f"for other machines, run `pbexport serve` and `pbserve serve`: {text} is not "
                    "loopback, and `up` is for this machine alone"
                )


def serve_source(source: Source, wishes: Wishes, store: Path, ports: Ports, devices: str) -> None:
    """Converts, serves, says how to ask, and returns after Ctrl-C.

    Raises:
        PbserveError: nothing can be made of the source, or a service ended.
        KeyboardInterrupt: somebody ended it before it served.
    """
    _check_graph(source, wishes)
    ports.check()
    # A terminal that closes, and `kill`, end everything as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    over = threading.Event()
    folder = str(store)
    exporter = ServiceProcess(
        "pbexport",
        "exporter_service",
        ["--listen", ports.exporter, "--store", folder, "--checkpoint-root", str(source.root)],
        over.set,
        _note,
    )
    with Services([exporter]):
        # Its store must be there; both load TensorFlow at the same time.
        exporter_address, _ = exporter.listening()
        inference = ServiceProcess(
            "pbserve",
            "inference_service",
            [
                *("--listen", ports.inference, "--store", folder, "--devices", devices),
                *("--metrics-listen", ports.page),
            ],
            over.set,
            _note,
        )
        with Services([inference]):
            version = _publish(source, wishes, exporter, exporter_address)
            address, page = inference.listening()
            served = _wait_until_served(source.model, version, address, inference)
            _print_served(source, served, version, (address, page, exporter_address))
            try:
                over.wait()
            except KeyboardInterrupt:
                _note(f"ends; what was made stays in {folder}")
                return
            raise (inference if exporter.is_running else exporter).failure()


def _check_graph(source: Source, wishes: Wishes) -> None:
    if source.is_graph and (
        wishes.architecture
        or wishes.parameters
        or wishes.bindings
        or wishes.image_size
        or wishes.mean
        or wishes.cards > 1
    ):
        raise errors.InvalidRequest(
            f"only --input and --output go with a frozen graph: {source.path} is served as it is"
        )


def _publish(source: Source, wishes: Wishes, exporter: ServiceProcess, address: str) -> int:
    """Returns the version that has the source."""
    with ExporterCalls(address) as calls:
        try:
            if source.is_graph:
                version, new = calls.adopt(source, wishes)
                _note(_published(source, version, new=new))
                return version
            return _convert(source, wishes, calls)
        except errors.ServerStopping as error:
            if exporter.is_running:
                raise
            raise exporter.failure() from error


def _convert(source: Source, wishes: Wishes, calls: ExporterCalls) -> int:
    _note(f"looks at {source.file}")
    found = calls.inspect(source.path)
    plan = plan_conversion(found, wishes)
    parameters = " ".join(f"{name}={value}" for name, value in sorted(plan.parameters.items()))
    _note(f"converts by {plan.architecture} {parameters}".rstrip() + f" ({plan.reason})")
    if plan.architecture != META_GRAPH and not plan.mean:
        _note("images go in as they come: if training subtracted a mean, give --mean R,G,B")
    steps: list[str] = []

    def show(text: str, seconds: float) -> None:
        steps.append(text)
        _note(f"{seconds:6.1f} s  {text}")

    try:
        version = calls.convert(source, found, plan, show)
    except errors.Unconvertible as error:
        candidates = open_question(found, plan, wishes)
        if not candidates:
            raise
        if not (sys.stdin.isatty() and notices.is_terminal):
            raise errors.Unconvertible(with_candidates(str(error), candidates)) from error
        return _convert(source, answered(wishes, choose_output(found, str(error))), calls)
    _note(_published(source, version, new=bool(steps)))
    return version


def choose_output(found: Inspection, refusal: str) -> Candidate:
    """Asks a person which tensor is the answer, until it is one of those that may be."""
    _note(refusal)
    for number, one in enumerate(found.outputs, 1):
        _note(f"{number:3}  {one}")
    chosen: Candidate = typer.prompt(
        "Which is the answer?", value_proc=lambda text: _one_of(found.outputs, text)
    )
    return chosen


def _one_of(candidates: Sequence[Candidate], text: str) -> Candidate:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= len(candidates):
        return candidates[int(text) - 1]
    # It is asked again.
    raise typer.BadParameter(f"give a number from 1 to {len(candidates)}")


def _published(source: Source, version: int, *, new: bool) -> str:
    where = f"{source.model} version {version}"
    return f"{where} is published" if new else f"{where} has this already: nothing to convert"


def _wait_until_served(model: str, version: int, address: str, service: ServiceProcess) -> Version:
    """Returns the version, or the newer one that is served instead.

    Raises:
        ModelUnavailable: it cannot be loaded.
        ServerStopping: the service ended.
    """
    with InferenceClient(address) as client:
        while service.is_running:
            try:
                found = client.model(model, timeout=ANSWER_SECONDS)
            except (errors.ModelNotFound, errors.ServerStopping, errors.ModelUnavailable):
                found = None
            for one in found.versions if found else ():
                if one.state == "FAILED" and one.version == version:
                    raise errors.ModelUnavailable(f"{model} version {version}: {one.reason}")
                if one.state == "AVAILABLE" and one.version >= version:
                    return one
            time.sleep(_LOOK_SECONDS)
    raise service.failure()


def _print_served(source: Source, found: Version, version: int, places: Sequence[str]) -> None:
    address, page, exporter = places
    card = found.cards[0]
    newer = f" (newer than version {version})" if found.version > version else ""
    print_line(f"{source.model} version {found.version}{newer} is served on {cards_text(found)}.")
    program = "pbserve" if shutil.which("pbserve") else sys.argv[0]
    served = Served(
        source.model,
        found.version,
        card.inputs,
        card.outputs,
        address,
        page,
        exporter,
        program,
    )
    print_line("")
    for line in first_requests(served):
        print_line(line)
    print_line("")
    print_line("Ctrl-C ends everything.")


def cards_text(version: Version) -> str:
    """Returns what a version runs on: `2 cards: cpu:0, cpu:1 (no GPU)`."""
    devices = list(dict.fromkeys(card.runs_on for card in version.cards))
    count = len(version.cards)
    gpus = any(device.startswith("gpu") for device in devices)
    cards = f"{count} card{'s' if count > 1 else ''}"
    return f"{cards}: {', '.join(devices)}{'' if gpus else ' (no GPU)'}"


def _note(text: str) -> None:
    notices.print(printable(text), markup=False, highlight=False, soft_wrap=True)
