from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from inference_service.images.decoding import Fit, ImageDecoding
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec
from tests.support.pictures import decode_images

Pixels = npt.NDArray[np.uint8]
RANDOM = np.random.default_rng(0)


def takes(*shape: int) -> TensorSpec:
    return TensorSpec("input", "input:0", "float32", shape)


ANY = takes(-1, -1, -1, 3)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    return saved(Image.fromarray(pixels), "PNG", **options)


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    return saved(Image.fromarray(pixels), "JPEG", **options)


def test_an_image_with_too_many_numbers_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = png(np.zeros((20, 10, 3), np.uint8))
    ImageDecoding([whole], ANY, Fit.EXACT, 600).decode_next()

    def decode(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("inference_service.images.decoding._pixels", decode)
    decoding = ImageDecoding([whole], ANY, Fit.EXACT, 599)
    with pytest.raises(errors.InvalidTensor, match=r"has 600 numbers.*takes 599.*max_elements"):
        decoding.decode_next()
    with pytest.raises(errors.InvalidTensor, match="has 1200 numbers"):
        ImageDecoding([whole, whole], takes(-1, 20, 10, 3), Fit.EXACT, 1199)


def noise(*shape: int) -> Pixels:
    return RANDOM.integers(0, 256, shape, np.uint8)


def ramp(height: int, width: int) -> Pixels:
    """Colours that change slowly, as JPEG likes them."""
    rows, columns = np.linspace(0, 200, height)[:, None], np.linspace(0, 55, width)
    red = (rows + columns).astype(np.uint8)
    return np.stack([red, 255 - red, np.full_like(red, 90)], axis=-1)


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def raw_png(width: int, height: int, depth: int, colour: int, data: bytes, *extra: bytes) -> bytes:
    """A PNG by the letter, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *extra,
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        ]
    )


PNG = png(noise(9, 7, 3))
JPEG = jpeg(ramp(20, 31))


@given(npst.arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 2, st.sampled_from([1, 3, 4]))))
def test_a_png_comes_back_bit_by_bit(pixels: Pixels) -> None:
    channels = pixels.shape[2]
    content = png(pixels[..., 0] if channels == 1 else pixels)
    decoded = decode_images([content, content], takes(-1, -1, -1, channels), Fit.EXACT)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, [pixels, pixels])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}])
def test_a_jpeg_comes_back_within_a_few_grey_levels(options: dict[str, Any]) -> None:
    pixels = ramp(40, 60)
    decoded = decode_images([jpeg(pixels, **options)], takes(-1, 40, 60, 3), Fit.EXACT)
    assert np.abs(decoded[0].astype(int) - pixels).max() <= 8


def test_images_keep_their_order_and_kinds_may_be_mixed() -> None:
    pixels = [np.full((8, 8, 3), level, np.uint8) for level in (10, 90, 200)]
    contents = [png(pixels[0]), jpeg(pixels[1]), png(pixels[2])]
    decoded = decode_images(contents, takes(-1, 8, 8, 3), Fit.EXACT)
    np.testing.assert_allclose(decoded, np.stack(pixels), atol=2)


@pytest.mark.parametrize(
    ("shape", "empty"),
    [
        ((-1, 4, 5, 3), (0, 4, 5, 3)),
        ((-1, -1, 5, 1), (0, 0, 5, 1)),
        ((8, -1, -1, -1), (0, 0, 0, 3)),
    ],
)
def test_no_images_are_an_empty_array(shape: tuple[int, ...], empty: tuple[int, ...]) -> None:
    assert decode_images([], takes(*shape), Fit.EXACT).shape == empty


class TestColours:
    grey = noise(5, 6)
    colour = noise(5, 6, 4)

    def test_grey_is_repeated(self) -> None:
        decoded = decode_images([png(self.grey)], ANY, Fit.EXACT)
        np.testing.assert_array_equal(decoded[0], np.stack([self.grey] * 3, axis=-1))

    def test_colours_become_grey_by_their_luminance(self) -> None:
        decoded = decode_images([png(self.colour[..., :3])], takes(-1, 5, 6, 1), Fit.EXACT)
        luminance = self.colour[..., :3] @ np.array([0.299, 0.587, 0.114])
        assert np.abs(decoded[0, ..., 0] - luminance).max() <= 1

    def test_alpha_is_dropped_not_mixed_in(self) -> None:
        decoded = decode_images([png(self.colour)], ANY, Fit.EXACT)
        np.testing.assert_array_equal(decoded[0], self.colour[..., :3])

    def test_what_has_no_alpha_is_opaque(self) -> None:
        decoded = decode_images([png(self.colour[..., :3])], takes(-1, 5, 6, 4), Fit.EXACT)
        np.testing.assert_array_equal(decoded[0, ..., :3], self.colour[..., :3])
        assert (decoded[0, ..., 3] == 255).all()

    def test_grey_with_alpha_loses_it(self) -> None:
        image = Image.fromarray(np.stack([self.grey, self.grey], axis=-1))
        assert image.mode == "LA"
        decoded = decode_images([saved(image, "PNG")], takes(-1, -1, -1, 1), Fit.EXACT)
        np.testing.assert_array_equal(decoded[0, ..., 0], self.grey)

    # Transparency as a table for the palette, which Pillow warns of.
    @pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80"])
    def test_a_palette_becomes_its_colours(self, transparency: int | bytes | None) -> None:
        image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8)).convert("P")
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        options = {} if transparency is None else {"transparency": transparency}
        decoded = decode_images([saved(image, "PNG", **options)], ANY, Fit.EXACT)
        assert decoded[0].tolist() == [[[10, 20, 30], [40, 50, 60]], [[40, 50, 60], [70, 80, 90]]]

    def test_a_palette_s_transparency_becomes_alpha_where_the_model_has_it(self) -> None:
        image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        content = saved(image, "PNG", transparency=b"\x00\x80")
        decoded = decode_images([content], takes(-1, -1, -1, 4), Fit.EXACT)
        assert decoded[0].tolist() == [[[10, 20, 30, 0], [40, 50, 60, 128]]]

    def test_few_bits_are_spread_over_the_range(self) -> None:
        black_and_white = raw_png(2, 1, 1, 0, b"\x00\x40")
        assert decode_images([black_and_white], ANY, Fit.EXACT)[0, 0, :, 0].tolist() == [0, 255]
        four_levels = raw_png(4, 1, 2, 0, b"\x00\x1b")
        decoded = decode_images([four_levels], ANY, Fit.EXACT)
        assert decoded[0, 0, :, 0].tolist() == [0, 85, 170, 255]

    def test_a_jpeg_in_cmyk_becomes_rgb(self) -> None:
        pixels = ramp(16, 16)
        content = saved(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95)
        decoded = decode_images([content], ANY, Fit.EXACT)
        assert np.abs(decoded[0].astype(int) - pixels).max() <= 10

    def test_a_grey_jpeg_is_decoded(self) -> None:
        decoded = decode_images([jpeg(np.full((8, 8), 77, np.uint8))], ANY, Fit.EXACT)
        np.testing.assert_allclose(decoded, 77, atol=2)

    @pytest.mark.parametrize(
        ("colour", "data"),
        [(0, b"\0" * 5), (2, b"\0" * 13), (4, b"\0" * 9), (6, b"\0" * 17)],
        ids=["grey", "rgb", "grey and alpha", "rgba"],
    )
    def test_sixteen_bits_are_refused(self, colour: int, data: bytes) -> None:
        with pytest.raises(errors.InvalidTensor, match="image 1 of input 'input' has more than 8"):
            decode_images([PNG, raw_png(2, 1, 16, colour, data)], takes(-1, 9, 7, 3), Fit.STRETCH)


class TestFits:
    def test_another_size_than_the_model_s_is_refused(self) -> None:
        words = "image 1 of input 'input' has height 20 and width 31; the model takes height 9 and"
        with pytest.raises(errors.InvalidTensor, match=words):
            decode_images([PNG, JPEG], takes(-1, 9, 7, 3), Fit.EXACT)

    def test_one_size_may_be_any(self) -> None:
        assert decode_images([PNG], takes(-1, 9, -1, 3), Fit.EXACT).shape == (1, 9, 7, 3)
        with pytest.raises(errors.InvalidTensor, match="the model takes height 8 and width any"):
            decode_images([PNG], takes(-1, 8, -1, 3), Fit.EXACT)

    def test_one_message_has_one_size(self) -> None:
        words = "image 2 of input 'input' has height 20 and width 31; image 0 has height 9 and wid"
        with pytest.raises(errors.InvalidTensor, match=words):
            decode_images([PNG, PNG, JPEG, JPEG], ANY, Fit.EXACT)

    @pytest.mark.parametrize("fit", [Fit.STRETCH, Fit.CROP])
    @pytest.mark.parametrize("shape", [(-1, -1, 8, 3), (-1, 8, -1, 3)])
    def test_nothing_is_fitted_to_no_size(self, fit: Fit, shape: tuple[int, ...]) -> None:
        with pytest.raises(errors.InvalidRequest, match="resize them before sending"):
            decode_images([], takes(*shape), fit)

    @pytest.mark.parametrize("fit", list(Fit))
    def test_the_model_s_size_is_left_as_it_is(self, fit: Fit) -> None:
        pixels = noise(9, 7, 3)
        decoded = decode_images([png(pixels)], takes(-1, 9, 7, 3), fit)
        np.testing.assert_array_equal(decoded[0], pixels)

    def test_stretching_keeps_everything_whatever_the_proportions(self) -> None:
        thirds = np.repeat(np.array([[10, 100, 190]] * 20, np.uint8), 20, axis=1)
        decoded = decode_images([png(thirds)], takes(-1, 10, 10, 1), Fit.STRETCH)[0, ..., 0]
        assert decoded[0].tolist() == decoded[-1].tolist()
        assert (decoded[0, 0], decoded[0, -1]) == (10, 190)

    @pytest.mark.parametrize("factor", [0.5, 1, 2])
    def test_cropping_covers_the_size_and_cuts_out_the_middle(self, factor: float) -> None:
        wide = Image.fromarray(noise(20, 60))
        height, width = int(20 * factor), int(60 * factor)
        covering = np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR))
        middle = covering[:, height:-height]
        for image, expected in (
            (wide, middle),
            (wide.transpose(Image.Transpose.TRANSPOSE), middle.T),
        ):
            decoded = decode_images([saved(image, "PNG")], takes(-1, height, height, 1), Fit.CROP)
            # Pillow 12 rounds the resizing of a part, by 1, as it does not that of the whole.
            assert np.abs(decoded[0, ..., 0].astype(int) - expected.astype(int)).max() <= 1

    def test_shrinking_averages_what_it_merges(self) -> None:
        chessboard = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
        decoded = decode_images([png(chessboard)], takes(-1, 8, 8, 1), Fit.STRETCH)
        assert np.abs(decoded.astype(int) - 127).max() <= 2

    @given(st.tuples(*[st.integers(1, 40)] * 4), st.sampled_from([Fit.STRETCH, Fit.CROP]))
    def test_every_size_fits_every_other(self, sizes: tuple[int, ...], fit: Fit) -> None:
        content = png(np.full((*sizes[:2], 3), 50, np.uint8))
        decoded = decode_images([content], takes(-1, *sizes[2:], 3), fit)
        assert decoded.shape == (1, *sizes[2:], 3)
        assert (decoded == 50).all()

    @pytest.mark.parametrize("fit", [Fit.STRETCH, Fit.CROP])
    @pytest.mark.parametrize("shape", [(65_535, 1), (1, 65_535)])
    def test_lines_fit_too(self, fit: Fit, shape: tuple[int, int]) -> None:
        decoded = decode_images([png(np.full(shape, 50, np.uint8))], takes(-1, 64, 64, 1), fit)
        assert (decoded == 50).all()


def test_orientation_is_not_applied() -> None:
    pixels = noise(6, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(
        decode_images([png(pixels, exif=exif)], ANY, Fit.EXACT)[0], pixels
    )
    assert decode_images([jpeg(pixels, exif=exif)], ANY, Fit.EXACT).shape == (1, 6, 4, 3)


def test_damaged_exif_data_do_not_matter() -> None:
    # A directory of a hundred tags of which none is there: read, it is a warning for each.
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 100) + b"\x1a\x01\x05\0\xff\xff\xff\x7f"
    assert decode_images([jpeg(ramp(8, 8), exif=exif)], ANY, Fit.EXACT).shape == (1, 8, 8, 3)


def test_of_an_animation_the_first_picture_counts() -> None:
    first, second = (Image.fromarray(noise(5, 6, 3)) for _ in range(2))
    content = saved(first, "PNG", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode_images([content], ANY, Fit.EXACT)[0], np.asarray(first))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((-1, 10), "has shape \\[-1, 10\\], and images would be"),
        ((-1, 4, 4, 4, 3), "send raw tensors"),
        ((), "send raw tensors"),
        ((-1, 4, 4, 2), "the model takes 2 channels: send raw tensors"),
        ((-1, 4, 4, 0), "the model takes 0 channels"),
    ],
)
def test_a_model_that_takes_no_images_gets_none(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(errors.InvalidTensor, match=words):
        decode_images([], takes(*shape), Fit.STRETCH)


GIF = saved(Image.fromarray(noise(4, 4)), "GIF")
FLIPPED = bytearray(PNG)
FLIPPED[PNG.index(b"IDAT") + 20] ^= 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"Dear server", "it begins with b'Dear ser'"),
        (GIF, "it begins with b'GIF8"),
        (PNG[:30], "truncated"),
        (JPEG[:-2], "truncated"),
        # Pillow alone would return other pixels than were sent.
        (bytes(FLIPPED), "checksum"),
        (raw_png(0, 4, 8, 2, b""), ""),
        (raw_png(4, 4, 7, 2, b"\0" * 52), ""),
        (raw_png(4, 4, 8, 2, b"\0" * 20), ""),
    ],
)
def test_what_does_not_decode_is_named(content: bytes, words: str) -> None:
    start = "image 3 of input 'input' does not decode as JPEG or PNG: "
    with pytest.raises(errors.InvalidTensor, match=f"{start}.*{words}"):
        decode_images([PNG, PNG, PNG, content], takes(-1, 9, 7, 3), Fit.STRETCH)


def jpeg_of_size(height: int, width: int) -> bytes:
    content = bytearray(JPEG)
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize(
    "content",
    [
        raw_png(8001, 8000, 8, 2, b""),
        raw_png(2**31 - 1, 2**31 - 1, 1, 0, b""),
        raw_png(1, 65_536, 1, 0, b""),
        raw_png(65_536, 1, 1, 0, b""),
        # Above Pillow's own limits, of which one is a warning.
        raw_png(10_000, 10_000, 8, 2, b""),
        raw_png(20_000, 20_000, 8, 2, b""),
        jpeg_of_size(8001, 8000),
        jpeg_of_size(65_535, 65_535),
    ],
)
def test_a_bomb_is_refused_by_its_header(content: bytes, fit: Fit) -> None:
    words = "image 0 of input 'input' has height .*at most 64000000 pixels and sides of 65535"
    with pytest.raises(errors.InvalidTensor, match=words):
        decode_images([content], takes(-1, 8, 8, 3), fit)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A grey progressive JPEG whose scans after the first one have next to no bytes."""
    start = jpeg(np.full((side, side), 128, np.uint8), progressive=True)
    # Tables that have a code for "the rest of the block is zero".
    tables = jpeg(np.full((8, 8), 128, np.uint8))
    head = start[: start.index(b"\xff\xc4")]
    table = tables[tables.index(b"\xff\xc4") : tables.index(b"\xff\xda")]
    first, more = (b"\xff\xda\0\x08\1\1\0" + s + b"\0\0" for s in (b"\0\0", b"\1\x3f"))
    return head + table + first + more * (scans - 1) + b"\xff\xd9"


@pytest.mark.parametrize("fit", list(Fit))
def test_a_bomb_of_scans_is_refused_before_it_is_decoded(fit: Fit) -> None:
    content = jpeg_of_scans(2000, 600)
    assert len(content) < 10_000
    words = (
        "image 0 of input 'input' has 600 scans; with height 2000 and width 2000 it may have 512"
    )
    with pytest.raises(errors.InvalidTensor, match=words):
        decode_images([content], ANY if fit is Fit.EXACT else takes(-1, 8, 8, 3), fit)


@pytest.mark.parametrize("content", [jpeg_of_scans(2000, 20), jpeg_of_scans(64, 1000)])
def test_more_scans_than_any_encoder_writes_are_decoded(content: bytes) -> None:
    assert (decode_images([content], takes(-1, 8, 8, 1), Fit.STRETCH) == 128).all()


def test_a_progressive_jpeg_of_the_largest_size_is_not_refused() -> None:
    # Its scans have what 64 pixels need; for the rest libjpeg takes what it has.
    content = jpeg(ramp(8, 8), progressive=True)
    at = content.index(b"\xff\xc2") + 5
    large = content[:at] + struct.pack(">HH", 8000, 8000) + content[at + 4 :]
    assert decode_images([large], takes(-1, 8, 8, 1), Fit.STRETCH).shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (raw_png(2, 2, 8, 2, b"\0" * 14, *[chunk(b"abCd", b"")] * 50_001), "than 50000 chunks"),
        (JPEG[:2] + b"\xff\xfe\0\2" * 10_001 + JPEG[2:], "than 10000 segments"),
    ],
)
def test_a_bomb_of_pieces_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(errors.InvalidTensor, match=f"image 0 of input 'input' .* more {words}"):
        decode_images([content], takes(-1, 8, 8, 3), Fit.STRETCH)


def test_images_together_have_a_limit_too() -> None:
    words = "input 'input' has 17 images of height 4000 and width 4000, and 256000000 pixels are"
    large = raw_png(4000, 4000, 1, 0, b"")
    with pytest.raises(errors.InvalidTensor, match=words):
        decode_images([large] * 17, ANY, Fit.EXACT)
    with pytest.raises(errors.InvalidTensor, match=words):
        decode_images([PNG] * 17, takes(-1, 4000, 4000, 3), Fit.STRETCH)


def decodes_or_is_refused(content: bytes, fit: Fit) -> None:
    try:
        decoded = decode_images([content], takes(-1, 9, 7, 3), fit)
    except errors.InvalidTensor as error:
        assert "image 0 of input 'input'" in str(error)  # noqa: PT017
    else:
        assert decoded.shape == (1, 9, 7, 3)


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", PNG[:33], PNG[:41], b"\xff\xd8\xff", JPEG[:160]]),
    st.binary(max_size=200),
    st.sampled_from([b"", PNG[-12:], b"\xff\xd9"]),
)
def test_no_bytes_are_more_than_refused(start: bytes, middle: bytes, end: bytes) -> None:
    decodes_or_is_refused(start + middle + end, Fit.STRETCH)


@given(
    st.sampled_from([PNG, JPEG, png(noise(9, 7)), jpeg(ramp(9, 7), progressive=True)]),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=4)), max_size=5),
    st.sampled_from(Fit),
)
def test_no_damage_is_more_than_refused(
    content: bytes, damages: list[tuple[int, bytes]], fit: Fit
) -> None:
    damaged = bytearray(content)
    for place, new in damages:
        at = place % len(content)
        damaged[at : at + len(new)] = new
    decodes_or_is_refused(bytes(damaged), fit)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"tRNS", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"zTXt", b"iCCP", b"IHDR",
                             b"eXIf", b"gAMA", b"pHYs", b"abcd"]),
            st.binary(max_size=30),
        ),
        max_size=4,
    ),
    st.sampled_from([0, 2, 3, 4, 6]),
    st.sampled_from([1, 3, 4]),
)  # fmt: skip
def test_no_chunk_of_a_png_is_more_than_refused(
    chunks: list[tuple[bytes, bytes]], colour: int, channels: int
) -> None:
    extra = [chunk(name, content) for name, content in chunks]
    for content in (
        raw_png(2, 2, 8, colour, b"\0" * 18, *extra),
        raw_png(2, 2, 8, colour, b"\0" * 18)[:-12] + b"".join(extra) + chunk(b"IEND", b""),
    ):
        try:
            decoded = decode_images([content], takes(-1, -1, -1, channels), Fit.EXACT)
        except errors.InvalidTensor:
            continue
        assert decoded.shape[3] == channels


@given(st.sampled_from([PNG, JPEG, jpeg(ramp(9, 7), progressive=True)]), st.data())
def test_a_truncated_file_is_never_decoded(content: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(errors.InvalidTensor, match="image 0 of input 'input' does not decode"):
        decode_images([content[:cut]], ANY, Fit.EXACT)


@pytest.mark.parametrize("content", [PNG, JPEG])
def test_what_follows_the_image_does_not_matter(content: bytes) -> None:
    np.testing.assert_array_equal(
        decode_images([content + b"trailer"], ANY, Fit.EXACT),
        decode_images([content], ANY, Fit.EXACT),
    )


def test_images_are_decoded_one_by_one() -> None:
    decoding = ImageDecoding([PNG, PNG, b"no image"], takes(-1, 9, 7, 3), Fit.EXACT)
    assert decoding.pixels.shape == (3, 9, 7, 3)
    for _ in range(2):
        decoding.decode_next()
    expected = decode_images([PNG, PNG], ANY, Fit.EXACT)
    np.testing.assert_array_equal(decoding.pixels[:2], expected)
    assert not decoding.is_done
    with pytest.raises(errors.InvalidTensor, match="image 2 of input 'input' does not decode"):
        decoding.decode_next()


def test_threads_decode_at_the_same_time() -> None:
    contents = [png(noise(30, 20, 3)) for _ in range(20)]
    one_by_one = [decode_images([content], ANY, Fit.EXACT) for content in contents]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda one: decode_images([one], ANY, Fit.EXACT), contents))
    np.testing.assert_array_equal(together, one_by_one)
