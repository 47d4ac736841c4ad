"""One question to every server behind a target, and what each of them said."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from inference_service.cli.connecting import open_client
from service_kit import errors
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import error_text, lean_table
from service_kit.cli.exit_codes import ExitCode, exit_code_of
from service_kit.client.replicas import replicas, server_name
from service_kit.terminal_text import printable

if TYPE_CHECKING:
    from inference_service.client import InferenceClient

# Servers that are asked at the same time.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ReplicaAnswer:
    """What one server said; `error` is empty where it agreed."""

    address: str
    error: str = ""
    code: ExitCode = ExitCode.OK

    @property
    def agreed(self) -> bool:
        """Whether it has done what it was asked."""
        return not self.error


def ask_all(
    connection: ServerChoice, ask: Callable[[InferenceClient], object]
) -> list[ReplicaAnswer]:
    """Asks every server behind an address; one that fails keeps no other from being asked.

    Args:
        connection: its address is of all of them, and its certificate is for that name.
        ask: is called with a client of each, from several threads.

    Raises:
        InvalidRequest: the address or an option cannot be used.
        ServerStopping: the name has no addresses.
    """
    found = replicas(connection.address)
    name = connection.tls_server_name
    if connection.uses_tls and not name:
        name = server_name(connection.address)
    choices = [dataclasses.replace(connection, address=one, tls_server_name=name) for one in found]

    def answer(choice: ServerChoice) -> ReplicaAnswer:
        # What is wrong with an option is wrong everywhere: that is raised.
        with open_client(choice) as client:
            try:
                ask(client)
            except errors.PbserveError as error:
                return ReplicaAnswer(choice.address, error_text(error), exit_code_of(error))
        return ReplicaAnswer(choice.address)

    with ThreadPoolExecutor(min(_AT_ONCE, len(choices))) as pool:
        return list(pool.map(answer, choices))


def exit_code(answers: Sequence[ReplicaAnswer]) -> ExitCode:
    """Returns OK where all agreed, PARTLY where some did, or what the first one failed with."""
    if all(one.agreed for one in answers):
        return ExitCode.OK
    return ExitCode.PARTLY if any(one.agreed for one in answers) else answers[0].code


def answers_table(answers: Sequence[ReplicaAnswer]) -> Table:
    """Returns a line a server."""
    table = lean_table("server", "answer", words=("server", "answer"))
    for one in answers:
        table.add_row(one.address, Text(printable(one.error or "agreed")))
    return table
