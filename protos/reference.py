"""The protos as pages of the documentation: every service, message and enum, with its comments.

A hook of mkdocs (`mkdocs.yml`): the pages are made when the site is built and lie nowhere else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import descriptor_pb2
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent
FOLDER = "reference/grpc"

# Field numbers of descriptor.proto, of which the paths to comments are made.
_PACKAGE, _MESSAGES, _ENUMS, _SERVICES = 2, 4, 5, 6
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS, _CHOICES, _RPCS, _VALUES = 2, 3, 4, 8, 2, 2

_Field = descriptor_pb2.FieldDescriptorProto
_Message = descriptor_pb2.DescriptorProto
_PATH = tuple[int, ...]
# Code of one line, which is left alone, or a character that Markdown would take for its own.
_CODE_OR_SPECIAL = re.compile(r"(`[^`\n]+`)|([\\<>|*_\[\]])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages to the site; called by mkdocs."""
    for name, text in pages(described()).items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def described() -> descriptor_pb2.FileDescriptorSet:
    """Returns all descriptors with their comments.

    The compiler runs in a process of its own: it ends the whole one on some errors.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        subprocess.run([sys.executable, ROOT / "generate.py", "--describe", image], check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())


def pages(image: descriptor_pb2.FileDescriptorSet) -> dict[str, str]:
    """Returns Markdown by the name of the page (`inference`), for each proto of ours."""
    ours = [proto for proto in image.file if proto.package.startswith("pbserve.")]
    places = {name: _page_of(proto) for proto in ours for name in _type_names(proto)}
    return {_page_of(proto): _Page(proto, places).text() for proto in ours}


def _page_of(proto: descriptor_pb2.FileDescriptorProto) -> str:
    return Path(proto.name).stem


def _type_names(proto: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    def below(prefix: str, messages: Iterable[_Message]) -> Iterator[str]:
        for message in messages:
            name = f"{prefix}.{message.name}"
            yield name
            yield from (f"{name}.{enum.name}" for enum in message.enum_type)
            yield from below(name, message.nested_type)

    yield from (f".{proto.package}.{enum.name}" for enum in proto.enum_type)
    yield from below(f".{proto.package}", proto.message_type)


@dataclass(frozen=True)
class _Section:
    """A heading, its anchor, and the lines below it."""

    level: int
    kind: str
    name: str
    full_name: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        anchor = f"{{ #{self.full_name.lstrip('.')} }}"
        heading = f"{'#' * self.level} {self.kind} `{self.name}` {anchor}"
        return "\n".join((heading, "", *self.lines))


class _Page:
    """One proto file as Markdown."""

    def __init__(
        self, proto: descriptor_pb2.FileDescriptorProto, places: Mapping[str, str]
    ) -> None:
        self._proto, self._places = proto, places
        self._comments = {
            tuple(location.path): location.leading_comments.strip()
            for location in proto.source_code_info.location
        }

    def text(self) -> str:
        prefix = f".{self._proto.package}"
        head = (
            f"# `{self._proto.package}`",
            "",
            self._comment(_PACKAGE),
            "",
            f"From `protos/{self._proto.name}`; the numbers are those of the fields on the wire.",
        )
        sections = [
            *self._services(prefix),
            *self._messages(prefix, (_MESSAGES,), self._proto.message_type),
            *self._enums(prefix, (_ENUMS,), self._proto.enum_type),
        ]
        return "\n\n".join(("\n".join(head), *map(str, sections))) + "\n"

    def _services(self, prefix: str) -> Iterator[_Section]:
        for place, service in enumerate(self._proto.service):
            name = f"{prefix}.{service.name}"
            yield _Section(2, "service", service.name, name, (self._comment(_SERVICES, place),))
            for number, rpc in enumerate(service.method):
                call = (
                    f"{'stream of ' if rpc.client_streaming else ''}{self._link(rpc.input_type)} "
                    f"→ {'stream of ' if rpc.server_streaming else ''}{self._link(rpc.output_type)}"
                )
                comment = self._comment(_SERVICES, place, _RPCS, number)
                yield _Section(3, "rpc", rpc.name, f"{name}.{rpc.name}", (call, "", comment))

    def _messages(
        self, prefix: str, path: _PATH, messages: Iterable[_Message]
    ) -> Iterator[_Section]:
        for place, message in enumerate(messages):
            if message.options.map_entry:
                continue
            here, name = (*path, place), f"{prefix}.{message.name}"
            yield _Section(2, "message", name.removeprefix(f".{self._proto.package}."), name,
                           (self._comment(*here), "", *self._fields(here, message)))  # fmt: skip
            yield from self._messages(name, (*here, _NESTED_MESSAGES), message.nested_type)
            yield from self._enums(name, (*here, _NESTED_ENUMS), message.enum_type)

    def _fields(self, path: _PATH, message: _Message) -> Iterator[str]:
        if not message.field:
            yield "No fields."
            return
        yield from self._choices(path, message)
        yield from ("| field | type | |", "| --- | --- | --- |")
        entries = {entry.name: entry for entry in message.nested_type if entry.options.map_entry}
        for place, field in enumerate(message.field):
            comment = self._comment(*path, _FIELDS, place).replace("\n", " ")
            yield f"| `{field.name}` = {field.number} | {self._type(field, entries)} | {comment} |"

    def _choices(self, path: _PATH, message: _Message) -> Iterator[str]:
        for place, choice in enumerate(message.oneof_decl):
            fields = [
                f"`{field.name}`"
                for field in message.field
                if field.HasField("oneof_index")
                and field.oneof_index == place
                # protoc makes a choice of one of each optional field.
                and not field.proto3_optional
            ]
            if fields:
                comment = self._comment(*path, _CHOICES, place)
                yield from (f"`{choice.name}` is one of {', '.join(fields)}. {comment}", "")

    def _type(self, field: _Field, entries: Mapping[str, _Message]) -> str:
        entry = entries.get(field.type_name.rpartition(".")[2])
        if entry is not None:
            key, value = (self._type(one, {}) for one in entry.field)
            return f"map of {key} to {value}"
        name = self._link(field.type_name) if field.type_name else _scalar(field)
        if field.label == _Field.LABEL_REPEATED:
            return f"repeated {name}"
        return f"optional {name}" if field.proto3_optional else name

    def _enums(
        self, prefix: str, path: _PATH, enums: Iterable[descriptor_pb2.EnumDescriptorProto]
    ) -> Iterator[_Section]:
        for place, enum in enumerate(enums):
            name = f"{prefix}.{enum.name}"
            rows = (
                f"| `{value.name}` = {value.number} | "
                f"{self._comment(*path, place, _VALUES, number)} |".replace("\n", " ")
                for number, value in enumerate(enum.value)
            )
            lines = (self._comment(*path, place), "", "| value | |", "| --- | --- |", *rows)
            yield _Section(2, "enum", name.removeprefix(f".{self._proto.package}."), name, lines)

    def _link(self, type_name: str) -> str:
        name = type_name.lstrip(".")
        if type_name not in self._places:
            return f"`{name}`"
        short = name.removeprefix(f"{self._proto.package}.")
        return f"[`{short}`]({self._places[type_name]}.md#{name})"

    def _comment(self, *path: int) -> str:
        return _escaped(self._comments.get(path, ""))


def _scalar(field: _Field) -> str:
    return f"`{_Field.Type.Name(field.type).removeprefix('TYPE_').lower()}`"


def _escaped(comment: str) -> str:
    """Returns a comment as Markdown that shows it as it was written, but for `code`."""
    return _CODE_OR_SPECIAL.sub(lambda m: m[1] or f"\\{m[2]}", re.sub(r"(?m)^ ", "", comment))
