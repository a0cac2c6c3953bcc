"""Images, label maps and depth maps: round trips, and files that lie."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from egojax.data import images
from egojax.errors import FrameError, UsageError

RNG = np.random.default_rng(0)


def smooth_frame(size_hw=(64, 96)) -> np.ndarray:
    """A picture that JPEG keeps."""
    frame = np.full((*size_hw, 3), 90, np.uint8)
    frame[..., 0] = np.linspace(0, 200, size_hw[0])[:, None]
    frame[..., 1] = np.linspace(0, 200, size_hw[1])
    return frame


@pytest.mark.parametrize("size_hw", [(8, 12), (7, 5)])
def test_labels_return_as_written(tmp_path, size_hw):
    labels = RNG.integers(0, 65_536, size_hw).astype(np.int32)
    images.write_labels(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(images.read_labels(tmp_path / "a.png"), labels)
    np.save(tmp_path / "b.npy", labels.astype(np.uint32) + 70_000)
    np.testing.assert_array_equal(
        images.read_labels(tmp_path / "b.npy", size_hw), labels + 70_000
    )


def test_a_palette_gives_its_indices_and_not_its_colours(tmp_path):
    indices = RNG.integers(0, 4, (6, 9)).astype(np.uint8)
    image = Image.frombytes("P", (9, 6), indices.tobytes())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    image.save(tmp_path / "a.png", bits=8)
    image.save(tmp_path / "b.png", bits=2)
    for name in "ab":
        found = images.read_labels(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(found, indices)


def test_depth_returns_to_half_a_millimetre_and_unknown_is_infinite(tmp_path):
    depth = RNG.uniform(0.1, 60.0, (6, 9)).astype(np.float32)
    depth[0, :4] = [np.inf, np.nan, 0.0, 70.0]
    far = ~np.isfinite(depth) | (depth > 65.535)
    steps = np.where(far, 0, np.round(1000 * depth)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), steps)
    found = images.read_depth(tmp_path / "a.png")
    assert np.isinf(found[0, :4]).all() and found.dtype == np.float32
    np.testing.assert_allclose(found[1:], depth[1:], atol=0.5001e-3)
    np.save(tmp_path / "b.npy", depth.astype(np.float64))
    np.savez(tmp_path / "c.npz", depth=depth)
    for name in ("b.npy", "c.npz"):
        found = images.read_depth(tmp_path / name, (6, 9))
        assert np.isinf(found[0, :3]).all()
        np.testing.assert_array_equal(found[1:], depth[1:])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_images_return_with_their_colours(tmp_path, suffix):
    frame = smooth_frame()
    images.write_image(tmp_path / f"a{suffix}", frame)
    found = images.read_image(tmp_path / f"a{suffix}", (64, 96)).astype(int)
    assert np.abs(found - frame).mean() < (1e-9 if suffix == ".png" else 4)


def test_gray_images_of_16_bit_keep_their_high_bits(tmp_path):
    """Pillow alone makes white of all that is above 255."""
    gray = np.linspace(0, 65535, 12).astype(np.uint16).reshape(3, 4)
    cv2.imwrite(str(tmp_path / "a.png"), gray)
    found = images.read_image(tmp_path / "a.png", (3, 4))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.stack([gray // 256] * 3, -1))
    Image.fromarray(gray.astype(np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(FrameError, match="32-bit values; expected 8 or 16 bit"):
        images.read_image(tmp_path / "b.tif")


def test_a_photo_that_lies_on_its_side_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by a quarter clockwise to see it upright.
    Image.fromarray(smooth_frame()).save(tmp_path / "a.jpg", exif=exif)
    found = images.read_image(tmp_path / "a.jpg")
    assert found.shape == (96, 64, 3)
    expected = np.rot90(smooth_frame(), -1)
    assert np.abs(found.astype(int) - expected).mean() < 3


def test_frames_of_a_folder_come_in_numeric_order(tmp_path):
    for name in ("f_10.png", "f_9.png", "._f_9.png", "notes.txt"):
        images.write_image(tmp_path / name, smooth_frame()) if "png" in name else (
            tmp_path / name
        ).write_text("x")
    assert list(images.list_frames(tmp_path, images.IMAGES)) == ["f_9", "f_10"]


def test_labels_that_do_not_fit_16_bit_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="70000"):
        images.write_labels(tmp_path / "a.png", np.array([[70_000]]))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk


def jpeg(cut: int | None = None) -> bytes:
    return cv2.imencode(".jpg", RNG.integers(0, 255, (64, 96, 3)))[1].tobytes()[:cut]


BAD_IMAGES = {
    "empty": b"",
    "half a jpeg": jpeg(2000),
    "text": b"not an image",
    "huge png": png_header(60_000, 60_000),
    "wide png": png_header(12_000, 9_000),
    "cut png": cv2.imencode(".png", RNG.integers(0, 255, (64, 96, 3)))[1].tobytes()[
        :900
    ],
    "other size": cv2.imencode(".png", np.zeros((8, 9, 3)))[1].tobytes(),
}


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_one_bad_frame_in_one_line(tmp_path, kind):
    path = tmp_path / "frame_1.jpg"
    path.write_bytes(BAD_IMAGES[kind])
    with pytest.raises(FrameError) as told:
        images.read_image(path, (64, 96))
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_a_frame_that_is_not_there_or_a_folder_is_a_bad_frame(tmp_path):
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(FrameError, match=name):
            images.read_image(tmp_path / name)


BAD_LABELS = {
    "colours.png": lambda p: images.write_image(p, smooth_frame()),
    "floats.npy": lambda p: np.save(p, np.ones((64, 96), np.float32)),
    "negative.npy": lambda p: np.save(p, np.full((64, 96), -1)),
    "large.npy": lambda p: np.save(p, np.full((64, 96), 2**40)),
    "cube.npy": lambda p: np.save(p, np.zeros((2, 64, 96), np.int32)),
    "size.npy": lambda p: np.save(p, np.zeros((32, 48), np.int32)),
    "pickle.npy": lambda p: np.save(p, np.array([{"a": 1}]), allow_pickle=True),
    "empty.npy": lambda p: p.write_bytes(b""),
    "short.npy": lambda p: p.write_bytes(_npy(np.zeros((64, 96), np.int32))[:400]),
    "text.png": lambda p: p.write_text("labels"),
    "claims.npy": lambda p: p.write_bytes(_claims_npy()),
}


def _npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def _claims_npy() -> bytes:
    """A header that promises 2^50 values."""
    good = _npy(np.zeros((64, 96), np.int32))
    return good.replace(b"(64, 96), }", b"(33554432, 33554432), }", 1)


@pytest.mark.parametrize("name", BAD_LABELS)
def test_a_bad_label_map_is_one_bad_frame_in_one_line(tmp_path, name):
    BAD_LABELS[name](tmp_path / name)
    with pytest.raises(FrameError) as told:
        images.read_labels(tmp_path / name, (64, 96))
    assert name in str(told.value) and "\n" not in str(told.value)


BAD_DEPTHS = {
    "bytes.png": lambda p: images.write_image(p, np.zeros((64, 96), np.uint8)),
    "negative.npy": lambda p: np.save(p, np.full((64, 96), -2.0)),
    "text.npy": lambda p: np.save(p, np.full((64, 96), "a")),
    "two.npz": lambda p: np.savez(p, a=np.ones((64, 96)), b=np.ones((64, 96))),
    "broken.npz": lambda p: p.write_bytes(b"PK\x03\x04 not a zip"),
    "size.npy": lambda p: np.save(p, np.ones((96, 64))),
}


@pytest.mark.parametrize("name", BAD_DEPTHS)
def test_a_bad_depth_map_is_one_bad_frame_in_one_line(tmp_path, name):
    BAD_DEPTHS[name](tmp_path / name)
    with pytest.raises(FrameError) as told:
        images.read_depth(tmp_path / name, (64, 96))
    assert name in str(told.value) and "\n" not in str(told.value)


def test_a_folder_of_frames_says_what_is_wrong_with_it(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        images.list_frames(tmp_path / "none", images.IMAGES)
    with pytest.raises(UsageError, match="no frames here"):
        images.list_frames(tmp_path, images.IMAGES)
    for name in ("a.png", "a.jpg", "b.png", "b.bmp"):
        (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match=r"frame a; keep one\n.*frame b; keep one"):
        images.list_frames(tmp_path, images.IMAGES)
    with pytest.raises(UsageError, match="none of 2 frames can be read"):
        images.first_size([tmp_path / "a.png", tmp_path / "b.png"], images.read_image)


@pytest.mark.parametrize(
    ("pixels", "mode", "expected"),
    [
        ([[0, 128, 129, 255]], "L", [[0, 0, 1, 1]]),
        ([[0, 1, 2, 254]], "L", [[0, 1, 1, 1]]),
        ([[0, 0, 0, 0]], "L", [[0, 0, 0, 0]]),
        ([[0, 1, 7, 255]], "P", [[0, 1, 1, 0]]),
        ([[0, 0, 255, 255]], "P", [[0, 0, 1, 1]]),
        ([[0, 255, 255, 0]], "1", [[0, 1, 1, 0]]),
    ],
)
def test_annotations_of_any_form_give_one_foreground(tmp_path, pixels, mode, expected):
    image = Image.fromarray(np.uint8(pixels))
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    elif mode == "1":
        image = image.convert("1")
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == mode
    found = images.read_foreground(tmp_path / "a.png", (1, 4))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_of_colored_annotations_the_first_channel_counts(tmp_path):
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0, 0], pixels[1, 1, 1] = 255, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = images.read_foreground(tmp_path / "a.png")
    np.testing.assert_array_equal(found, [[1, 0], [0, 0]])


@pytest.mark.parametrize("what", BAD_IMAGES)
def test_a_bad_annotation_is_a_frame_error(tmp_path, what):
    (tmp_path / "a.png").write_bytes(BAD_IMAGES[what])
    with pytest.raises(FrameError, match=r"a\.png: "):
        images.read_foreground(tmp_path / "a.png", (64, 96))
