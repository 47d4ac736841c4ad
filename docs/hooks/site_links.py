"""Checks the links of the built site: every page, picture, script and anchor is there.

A hook of mkdocs, which itself checks the links between pages, and not what themes, plugins and
drawings add to them. Nothing is fetched: of a link to elsewhere only the form is checked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig

_log = logging.getLogger("mkdocs.hooks.site_links")
# Elements that a browser fetches something for as soon as it shows the page.
_FETCHING = {"script", "img", "source", "iframe", "audio", "video", "link"}
# Of <link>, those that only name something.
_NAMING = {"canonical", "prev", "next", "edit"}
_ELSEWHERE = {"http", "https"}


def on_post_build(config: MkDocsConfig) -> None:
    """Warns of every broken link; called by mkdocs, which fails on warnings when strict."""
    for line in problems(Path(config.site_dir)):
        _log.warning(line)


@dataclass
class _Page(HTMLParser):
    """What a page links to, as (element, target), and the anchors that it has."""

    links: list[tuple[str, str]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "link" and given.get("rel") in _NAMING:
            return
        for name in ("href", "src"):
            if name in given:
                self.links.append((tag, given[name] or ""))


def problems(site: Path) -> Iterator[str]:
    """Yields a sentence for each link of the HTML files below `site` that leads nowhere."""
    pages = {path.resolve(): _parsed(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        # The page of a server's 404 answers for every path, so it has links from the root.
        if path.name == "404.html":
            continue
        for tag, target in dict.fromkeys(page.links):
            if trouble := _trouble(path, tag, target, pages):
                yield f"{path.relative_to(site.resolve())}: <{tag}> {target!r} {trouble}"


def _parsed(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


def _trouble(path: Path, tag: str, target: str, pages: dict[Path, _Page]) -> str:
    """Returns what is wrong with a link; empty: nothing."""
    try:
        link = urlsplit(target)
    except ValueError as error:
        return f"is no URL: {error}"
    if link.scheme in _ELSEWHERE:
        return _elsewhere(tag, link)
    if link.scheme or link.netloc or link.path.startswith("/"):
        return "" if link.scheme in {"mailto", "data"} else "is neither relative nor http"
    found = (path.parent / unquote(link.path)).resolve() if link.path else path
    if not found.is_file():
        return "leads to no file"
    if link.fragment and found in pages and unquote(link.fragment) not in pages[found].anchors:
        return "names an anchor that is not there"
    return ""


def _elsewhere(tag: str, link: SplitResult) -> str:
    if tag in _FETCHING:
        return "is fetched from another host"
    return "" if link.hostname and "." in link.hostname else "has no host"
