"""Published artifacts, page by page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from service_kit.artifacts.model_name import is_model_name
from service_kit.store.artifact_store import ArtifactStore

MAX_PAGE = 1000
_TOKEN = re.compile(r"(.+)/([1-9][0-9]{0,18})")


@dataclass(slots=True)
class ArtifactPage:
    """Manifests by model and version, and what could not be read.

    `next_token` asks for what comes behind; empty: nothing does.
    """

    manifests: list[Manifest] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    next_token: str = ""


def read_page(store: ArtifactStore, model: str, token: str, size: int) -> ArtifactPage:
    """Reads a page of a store. Blocks.

    Args:
        store: is listed anew for each page; only the page's manifests are read.
        model: whose artifacts; empty: all models'.
        token: of the page before; empty: from the beginning.
        size: artifacts; 0: all that are left.

    Raises:
        InvalidRequest: the size is out of range, or the token is none.
        StoreUnavailable: the store cannot be read.
    """
    if not 0 <= size <= MAX_PAGE:
        raise errors.InvalidRequest(f"page_size is {size}: give 1 to {MAX_PAGE}, or 0 for all")
    after = _position(token)
    found = sorted(
        (name, version)
        for name, versions in store.published().items()
        if not model or name == model
        for version in versions
        if (name, version) > after
    )
    names = found[:size] if size else found
    page = ArtifactPage()
    for name, version in names:
        try:
            page.manifests.append(store.manifest(name, version))
        except errors.ArtifactCorrupt as error:
            page.unreadable.append(f"{name}/{version}: {error}")
        except errors.ArtifactNotFound:
            # Deleted since it was listed.
            continue
    if len(found) > len(names):
        page.next_token = "{}/{}".format(*names[-1])
    return page


def _position(token: str) -> tuple[str, int]:
    """Returns the model and version that a page ended with."""
    if not token:
        return ("", 0)
    match = _TOKEN.fullmatch(token)
    if not match or not is_model_name(match[1]):
        raise errors.InvalidRequest(
            "page_token is none: give the next_page_token of the answer before, or nothing"
        )
    return match[1], int(match[2])
