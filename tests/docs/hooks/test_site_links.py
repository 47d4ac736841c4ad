from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")

from docs.hooks.site_links import problems


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "page.html").write_text('<h2 id="part">Part</h2><a name="old"></a>')
    (tmp_path / "site.css").write_text("")
    (tmp_path / "a b.png").write_bytes(b"")
    return tmp_path


def found(site: Path, html: str) -> list[str]:
    (site / "index.html").write_text(html)
    return list(problems(site))


@pytest.mark.parametrize(
    "html",
    [
        '<a href="guide/page.html">',
        '<a href="guide/page.html#part">',
        '<a href="guide/page.html#old">',
        '<b id="here"><a href="#here">',
        '<a href="#">',
        '<a href="guide/page.html?x=1#part">',
        '<link rel="stylesheet" href="site.css">',
        '<img src="a%20b.png">',
        '<img src="data:image/png;base64,AA">',
        '<a href="https://example.org/x#y">',
        '<link rel="canonical" href="https://example.org/">',
    ],
)
def test_what_is_there_is_no_problem(site: Path, html: str) -> None:
    assert found(site, html) == []


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ('<a href="guide/none.html">', "leads to no file"),
        ('<a href="guide/">', "leads to no file"),
        ('<a href="guide/page.html#gone">', "names an anchor that is not there"),
        ('<a href="#gone">', "names an anchor that is not there"),
        ('<img src="none.png">', "leads to no file"),
        ('<script src="none.js"></script>', "leads to no file"),
        ('<script src="https://cdn.example.org/x.js"></script>', "fetched from another host"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "fetched from another host"),
        ('<img src="//example.org/x.png">', "neither relative nor http"),
        ('<a href="/guide/page.html">', "neither relative nor http"),
        ('<a href="javascript:x()">', "neither relative nor http"),
        ('<a href="https://">', "has no host"),
        ('<a href="http://[x">', "is no URL"),
    ],
)
def test_what_leads_nowhere_is_named_with_its_page(site: Path, html: str, words: str) -> None:
    (line,) = found(site, html)
    assert line.startswith("index.html: <")
    assert words in line


def test_a_link_is_looked_up_from_its_own_page(site: Path) -> None:
    (site / "guide" / "next.html").write_text('<a href="page.html#part"><a href="../site.css">')
    assert found(site, "") == []


def test_a_link_that_is_there_twice_is_one_problem(site: Path) -> None:
    assert len(found(site, '<a href="x"></a><a href="x"></a><img src="x">')) == 2
