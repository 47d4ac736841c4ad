"""What a server has, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from inference_service.cli.server_look import Rates
from inference_service.client.results import Card, Model, Version
from service_kit.artifacts.manifest import TensorSpec
from service_kit.cli.console import lean_table
from service_kit.terminal_text import printable


def models_table(models: Iterable[Model], now: Rates | None = None) -> Table:
    """Returns a line a version.

    Args:
        models: what there is.
        now: images per second, by model and version; None: what warming measured instead.
    """
    rate = "best img/s" if now is None else "img/s now"
    table = lean_table(
        *("model", "version", "state", "labels", "cards", "batch", rate, "images", "queued"),
        words=("model", "version", "state", "labels"),
    )
    for model in models:
        for version in model.versions:
            labels = {name for name, at in model.labels.items() if at == version.version}
            if version.version == model.default_version:
                # As if it had that label: it is what requests get that name nothing.
                labels.add("default")
            table.add_row(
                model.name,
                str(version.version),
                version.state,
                Text(printable(", ".join(sorted(labels)))),
                str(len(version.cards)),
                _span([card.max_batch_size for card in version.cards]),
                _speed(version) if now is None else _rate(now, model.name, version),
                str(sum(card.answered_images for card in version.cards)),
                str(sum(card.outstanding_images for card in version.cards)),
            )
    return table


def cards_table(model: Model) -> Table:
    """Returns a line a card of every loaded version."""
    table = lean_table(
        *(
            "version",
            "card",
            "tower",
            "device",
            "batch",
            "best img/s",
            "images",
            "failed",
            "health",
        ),
        words=("device", "health"),
    )
    for version in model.versions:
        for card in version.cards:
            table.add_row(
                str(version.version),
                str(card.index),
                str(card.tower),
                card.runs_on,
                str(card.max_batch_size),
                f"{_images_per_second(card):.1f}",
                str(card.answered_images),
                str(card.counts.failed_requests),
                "ok" if card.healthy else "out",
            )
    return table


def signatures(model: Model) -> list[str]:
    """Returns a line a loaded version: what it takes and gives, by name."""
    return [
        f"version {version.version} takes {_tensors(version.cards[0].inputs)}, gives "
        f"{_tensors(version.cards[0].outputs)}"
        for version in model.versions
        if version.cards
    ]


def engines(models: Sequence[Model]) -> list[str]:
    """Returns a line a loaded version: what runs it, and why."""
    lines = []
    for model in models:
        for version in model.versions:
            if version.engine and version.engine.name:
                engine = version.engine
                worst = f", differs by {engine.parity.worst:.2g} at most" if engine.parity else ""
                named = " ".join(filter(None, (engine.name, engine.version)))
                lines.append(
                    f"version {version.version} runs on {named} in {engine.precision}{worst}: "
                    f"{engine.reason}"
                )
    return lines


def remarks(models: Sequence[Model]) -> list[str]:
    """Returns a line for everything that is not as it should be."""
    lines = []
    for model in models:
        for version in model.versions:
            where = f"{model.name} version {version.version}"
            if version.reason:
                again = version.retry_in_seconds
                retry = "" if again is None else f" (next try in {again:.0f} s)"
                lines.append(f"{where}: {version.reason}{retry}")
            lines += [
                f"{where} card {card.index} is out of order: {card.last_error}"
                for card in version.cards
                if not card.healthy
            ]
    return lines


def speed_text(version: Version) -> str:
    """Returns how many cards a version has, and what warming measured of the first."""
    if not version.cards:
        return ""
    card = version.cards[0]
    return (
        f" on {len(version.cards)} cards: batches of {card.max_batch_size}, "
        f"{_images_per_second(card):.1f} images/s on one card alone"
    )


def _images_per_second(card: Card) -> float:
    """Returns the best of what warming measured, with the card alone on the machine."""
    return max((one.batch_size / max(one.seconds, 1e-9) for one in card.timings), default=0.0)


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} ({_shape(spec)} {spec.dtype})" for spec in specs)


def _shape(spec: TensorSpec) -> str:
    return "x".join("?" if size < 0 else str(size) for size in spec.shape)


def _speed(version: Version) -> str:
    if not version.cards:
        return ""
    return f"{max(map(_images_per_second, version.cards)):.1f}"


def _rate(now: Rates, model: str, version: Version) -> str:
    rate = now.get((model, version.version))
    return "" if rate is None else f"{rate:.1f}"


def _span(numbers: Sequence[int]) -> str:
    """Returns the number, or from which to which they go."""
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"
