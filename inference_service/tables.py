"""What a server has, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from inference_service.results import Card, Model, Version


def models_table(models: Iterable[Model]) -> Table:
    """Returns a line a version."""
    table = _table("model", "version", "state", "labels", "cards", "answered", "outstanding")
    for model in models:
        for version in model.versions:
            default = " (default)" if version.version == model.default_version else ""
            labels = sorted(name for name, at in model.labels.items() if at == version.version)
            table.add_row(
                model.name,
                f"{version.version}{default}",
                version.state,
                ", ".join(labels),
                str(len(version.cards)),
                str(sum(card.answered_images for card in version.cards)),
                str(sum(card.outstanding_images for card in version.cards)),
            )
    return table


def cards_table(model: Model) -> Table:
    """Returns a line a card of every loaded version."""
    table = _table(
        "version", "card", "tower", "device", "batch", "img/s", "images", "failed", "health"
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


def _table(*names: str) -> Table:
    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    return table
