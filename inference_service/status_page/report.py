"""Everything that the page shows and its JSON twin has, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from inference_service.cards.card import Card
from inference_service.loading.store_watch import Problems
from inference_service.models.status import ModelStatus, State, VersionStatus
from inference_service.status_page.artifact_report import ArtifactReport, artifact_report
from inference_service.status_page.card_report import CardReport, card_report
from inference_service.status_page.rates import CardRates


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What does not change while the server runs.

    Attributes:
        version: of pbserve.
        started_at: when the server started.
        cores: that it may keep busy.
        devices: what was asked for, as an option says it.
    """

    version: str
    started_at: datetime
    cores: int
    devices: str


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The server itself; `devices_in_use` are those that have a card."""

    version: str
    started_at: datetime
    uptime_seconds: float
    ready: bool
    cores: int
    devices: str
    devices_in_use: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VersionReport:
    """A version; `artifact` is None while it is not loaded, `retry_in_seconds` if it is not."""

    version: int
    state: str
    reason: str
    retry_in_seconds: float | None
    is_default: bool
    labels: tuple[str, ...]
    leases: int
    load_seconds: float | None
    cards: tuple[CardReport, ...]
    artifact: ArtifactReport | None

    @property
    def images_per_second(self) -> float:
        """Of all its cards, now."""
        return sum(card.images_per_second for card in self.cards)

    @property
    def answered_images(self) -> int:
        """Of all its cards, since it was loaded."""
        return sum(card.answered_images for card in self.cards)

    @property
    def outstanding_images(self) -> int:
        """Of all its cards."""
        return sum(card.outstanding_images for card in self.cards)


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A model with its versions in order; `default_version` is 0 when none is served."""

    name: str
    default_version: int
    labels: Mapping[str, int]
    versions: tuple[VersionReport, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be; `grave` is what costs answers now."""

    where: str
    what: str
    grave: bool


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The whole page, as of `at`."""

    at: datetime
    server: ServerReport
    problems: tuple[Problem, ...]
    models: tuple[ModelReport, ...]

    @property
    def versions(self) -> tuple[VersionReport, ...]:
        """All versions of all models."""
        return tuple(version for model in self.models for version in model.versions)


def status_report(
    facts: ServerFacts,
    statuses: Sequence[ModelStatus],
    problems: Problems,
    rates: Mapping[Card, CardRates],
    *,
    ready: bool,
    at: datetime,
) -> StatusReport:
    """Returns the report of what was collected on the event loop; may run on any thread."""
    models = tuple(_model(status, rates) for status in statuses)
    devices = {card.device for model in models for v in model.versions for card in v.cards}
    return StatusReport(
        at=at,
        server=ServerReport(
            version=facts.version,
            started_at=facts.started_at,
            uptime_seconds=(at - facts.started_at).total_seconds(),
            ready=ready,
            cores=facts.cores,
            devices=facts.devices,
            devices_in_use=tuple(sorted(devices)),
        ),
        problems=(*_server_problems(problems), *_model_problems(models)),
        models=models,
    )


def _model(status: ModelStatus, rates: Mapping[Card, CardRates]) -> ModelReport:
    return ModelReport(
        name=status.name,
        default_version=status.default_version,
        labels=status.labels,
        versions=tuple(_version(version, status, rates) for version in status.versions),
    )


def _version(
    version: VersionStatus, model: ModelStatus, rates: Mapping[Card, CardRates]
) -> VersionReport:
    servable = version.servable
    return VersionReport(
        version=version.version,
        state=version.state.value,
        reason=version.reason,
        retry_in_seconds=version.retry_in,
        is_default=version.version == model.default_version,
        labels=tuple(sorted(n for n, at in model.labels.items() if at == version.version)),
        leases=version.leases,
        load_seconds=servable.load_seconds if servable else None,
        cards=tuple(
            card_report(card.status(), rates.get(card, CardRates())) for card in servable.cards
        )
        if servable
        else (),
        artifact=artifact_report(servable.manifest) if servable else None,
    )


def _server_problems(problems: Problems) -> Iterator[Problem]:
    if problems.store:
        yield Problem("store", problems.store, grave=False)
    if problems.store_mark:
        yield Problem("store", problems.store_mark, grave=False)
    if problems.models_file:
        yield Problem("models file", problems.models_file, grave=False)


def _model_problems(models: Sequence[ModelReport]) -> Iterator[Problem]:
    for model in models:
        for version in model.versions:
            where = f"{model.name} version {version.version}"
            if version.reason:
                yield Problem(where, version.reason, grave=version.state == State.FAILED.value)
            for card in version.cards:
                if not card.healthy:
                    words = f"out of order, and probed until it works: {card.last_error}"
                    yield Problem(f"{where}, card {card.index}", words, grave=True)
                elif card.last_error:
                    words = f"works again; its last error was: {card.last_error}"
                    yield Problem(f"{where}, card {card.index}", words, grave=False)
