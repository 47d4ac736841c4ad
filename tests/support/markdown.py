"""What the project's Markdown files hold: blocks of code, code in lines, headings, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"pbexport", "pbserve"}
# Languages of blocks that hold commands; a block may have none.
SHELL = {"", "sh", "bash", "shell", "console"}
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,}) *(?P<language>[\w-]*)[^\n`]*\n"
    r"(?P<text>.*?)^(?P=indent)(?P=ticks)[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^(#+) .+$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"\w+=")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and where it begins."""

    path: Path
    line: int
    language: str
    text: str

    @property
    def is_snippet(self) -> bool:
        """Whether it is included from a file, which has tests of its own."""
        return "--8<--" in self.text

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def readmes() -> list[Path]:
    """Returns the Markdown files outside docs/ that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def pages() -> list[Path]:
    """Returns the pages of docs/, without decisions: those tell what was true when they fell."""
    return [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "adr"]


def blocks(path: Path) -> Iterator[Block]:
    """Yields the fenced blocks of a file."""
    text = path.read_text()
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        indent = match["indent"]
        content = "".join(one.removeprefix(indent) for one in match["text"].splitlines(True))
        yield Block(path, line, match["language"], content)


def prose(path: Path) -> str:
    """Returns a file's text without its fenced blocks."""
    return _FENCE.sub("", path.read_text())


def code_in_lines(path: Path) -> list[str]:
    """Returns the code in the sentences of a file."""
    return _CODE.findall(prose(path))


def headings(path: Path) -> list[int]:
    """Returns the level of each heading of a file."""
    return [len(marks) for marks in _HEADING.findall(prose(path))]


def links(path: Path) -> list[str]:
    """Returns the targets of a file's links."""
    return _LINK.findall(prose(path))


def commands(text: str) -> Iterator[list[str]]:
    """Yields the words of each call of ours in a block of shell commands."""
    lines = text.replace("\\\n", " ").splitlines()
    # With a prompt before the commands, the other lines are what they print.
    prompted = any(line.startswith("$ ") for line in lines)
    for line in lines:
        if any(program in line for program in PROGRAMS) and line.startswith("$ ") >= prompted:
            for words in _simple_commands(line.removeprefix("$ ")):
                if Path(words[0]).name in PROGRAMS:
                    yield [Path(words[0]).name, *words[1:]]


def _simple_commands(line: str) -> Iterator[list[str]]:
    """Yields the words of each command of a line, without what is set for it."""
    shell = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    shell.whitespace_split = True
    words: list[str] = []
    for word in [*shell, ";"]:
        if word.strip(";|&<>"):
            if words or not _ASSIGNMENT.match(word):
                words.append(word)
        elif words:
            yield words
            words = []
