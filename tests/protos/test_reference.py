from __future__ import annotations

import re

import pytest
from google.protobuf import descriptor_pb2

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")

import reference


@pytest.fixture(scope="module")
def image() -> descriptor_pb2.FileDescriptorSet:
    return reference.described()


def plain(markdown: str) -> str:
    """Returns text without Markdown's marks and lines."""
    return " ".join(re.sub(r"\\([\\<>|*_\[\]])", r"\1", markdown).split())


def test_every_comment_of_the_protos_is_on_its_page(
    image: descriptor_pb2.FileDescriptorSet,
) -> None:
    made = reference.pages(image)
    ours = [proto for proto in image.file if proto.package.startswith("pbserve.")]
    assert made.keys() == {"manifest", "exporter", "inference"}
    for proto in ours:
        page = plain(made[proto.name.split("/")[-1].removesuffix(".proto")])
        comments = [one.leading_comments for one in proto.source_code_info.location]
        assert len([one for one in comments if one]) > 50
        for comment in comments:
            assert " ".join(comment.split()) in page


def test_every_link_leads_to_a_section(image: descriptor_pb2.FileDescriptorSet) -> None:
    made = reference.pages(image)
    links = {
        link for page in made.values() for link in re.findall(r"\]\((\w+)\.md#([\w.]+)\)", page)
    }
    assert ("manifest", "pbserve.artifact.v1.TensorSpec") in links
    for page, anchor in links:
        assert f"{{ #{anchor} }}" in made[page]


def proto(text: str) -> descriptor_pb2.FileDescriptorSet:
    """Returns a proto of one message that has one field, with `text` as its comment."""
    made = descriptor_pb2.FileDescriptorProto(name="x/y.proto", package="pbserve.y")
    message = made.message_type.add(name="M")
    message.field.add(
        name="f", number=7, type=descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )  # fmt: skip
    made.source_code_info.location.add(path=[4, 0, 2, 0], leading_comments=text)
    return descriptor_pb2.FileDescriptorSet(file=[made])


@pytest.mark.parametrize(
    ("comment", "cell"),
    [
        (" Two\n lines.\n", "Two lines."),
        (" A `b_*c*|` d_e.\n", r"A `b_*c*|` d\_e."),
        (" <i> | *no* [x](y).\n", r"\<i\> \| \*no\* \[x\](y)."),
    ],
)
def test_comments_are_shown_as_they_were_written(comment: str, cell: str) -> None:
    page = reference.pages(proto(comment))["y"]
    assert f"| `f` = 7 | repeated `int32` | {cell} |" in page
