"""Reports as HTML and JSON, and the files that the page needs besides."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from inference_service.cards.batch_limit import BatchTiming
from inference_service.status_page import number_text
from inference_service.status_page.bars import Bar
from inference_service.status_page.card_report import CardReport
from inference_service.status_page.charts import Curve, batch_curve, sparkline
from inference_service.status_page.report import StatusReport
from inference_service.status_page.target import choices, max_cards
from service_kit.cli.console import plain, size_text


@dataclass(frozen=True, slots=True)
class Asked:
    """What was chosen in the form, to be chosen again."""

    target: str = ""
    card: str = ""
    fit: str = "EXACT"


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer to a form: bars and how they came about, or the error's words alone."""

    error: str = ""
    bars: tuple[Bar, ...] = ()
    model: str = ""
    version: int = 0
    card: int = 0
    batch_size: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page: its content, and its type."""

    content: bytes
    content_type: str


class Renderer:
    """Templates and files of this package. Rendering takes time: not for an event loop."""

    def __init__(self, *, max_bytes: int, takes_images: bool) -> None:
        """Reads the templates; see `StatusPage`."""
        self._settings = {"max_bytes": max_bytes, "takes_images": takes_images}
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader(__package__ or ""),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(
            count=number_text.count_text,
            counted=number_text.counted_text,
            rate=number_text.rate_text,
            percent=number_text.percent_text,
            duration=number_text.duration_text,
            milliseconds=number_text.milliseconds_text,
            mebibytes=number_text.mebibytes_text,
            difference=number_text.difference_text,
            clip=number_text.clipped,
            size=size_text,
            curve=_curve,
            sparkline=sparkline,
            choices=choices,
            max_cards=max_cards,
            anchor=_anchor,
        )
        self._page = environment.get_template("page.html")

    def page(self, report: StatusReport, asked: Asked, shown: Shown | None) -> str:
        """Returns the whole page; `shown` is below the form."""
        return self._page.render(report=report, asked=asked, shown=shown, **self._settings)


def as_json(report: StatusReport) -> str:
    """Returns what the page shows as JSON; takes time, as rendering does."""
    return json.dumps(plain(report), allow_nan=False)


def assets() -> Mapping[str, Asset]:
    """Returns the files that the page names, by name."""
    folder = resources.files(__package__ or "") / "static"
    return {
        file.name: Asset(
            file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        )
        for file in folder.iterdir()
        if file.is_file()
    }


def _curve(card: CardReport) -> Curve | None:
    timings = [BatchTiming(one.batch_size, one.seconds) for one in card.timings]
    return batch_curve(timings, card.batch_limit)


def _anchor(*parts: Any) -> str:
    """Returns an id for an element: no other parts give the same one."""
    return "-".join("".join(c if c.isalnum() else f"_{ord(c):x}_" for c in str(p)) for p in parts)
