"""The READMEs: both languages say the same, and what they point at is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.markdown import ROOT, blocks, headings, links, readmes

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
OTHER = {"README.md", "README.zh-CN.md"}


def code(path: Path) -> list[tuple[str, str]]:
    """Returns the blocks of a file without their comments, which are in its language."""
    return [
        (
            block.language,
            "\n".join(line.split("  # ")[0].rstrip() for line in block.text.split("\n")),
        )
        for block in blocks(path)
        # The drawing has words in it.
        if block.language != "text"
    ]


def test_both_languages_have_the_same_code() -> None:
    assert code(CHINESE) == code(ENGLISH)
    assert len(code(ENGLISH)) > 5


def test_both_languages_have_the_same_sections() -> None:
    assert headings(CHINESE) == headings(ENGLISH)


def test_both_languages_have_the_same_links() -> None:
    # The order of words differs, and so may that of links.
    assert sorted({*links(CHINESE)} - OTHER) == sorted({*links(ENGLISH)} - OTHER)


def test_each_language_links_to_the_other_at_the_top() -> None:
    for path, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        top = path.read_text().split("\n\n")[1]
        assert f"]({other.name})" in top


def test_the_translation_is_one() -> None:
    text = CHINESE.read_text()
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
    assert chinese > 1000
    assert not any("\u3040" <= character <= "\u30ff" for character in text)


@pytest.mark.parametrize("path", readmes(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_to_files(path: Path) -> None:
    for link in links(path):
        if "://" not in link and not link.startswith("#"):
            assert (path.parent / link.partition("#")[0]).exists(), link
