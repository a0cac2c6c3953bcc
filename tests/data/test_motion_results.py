"""Results of motion segmentation: what is written is read, by us and by others."""

import numpy as np
import pytest
from PIL import Image

from egojax.data import images, motion_results
from egojax.data.motion_results import SoftMasks, read_hard, read_soft, write_frame
from egojax.errors import FrameError

SIZE = (6, 9)


def soft_masks(seed=0, count=4, size=(3, 4)):
    rng = np.random.default_rng(seed)
    parts = rng.uniform(size=(count, *size)) ** 4
    foreground = rng.uniform(size=SIZE).astype(np.float32)
    return SoftMasks(foreground, (parts / parts.sum(0)).astype(np.float32))


def test_soft_masks_return_to_half_floats_and_to_8_bit(tmp_path):
    given = soft_masks()
    write_frame(tmp_path, "bear", "00003", given)
    found = read_soft(tmp_path / "soft" / "bear" / "00003.npz")
    for ours, want in zip(found, given, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, want, rtol=1e-3, atol=1e-7)
    gray = images.read_labels(tmp_path / "soft" / "bear" / "00003.png")
    np.testing.assert_allclose(gray / 255, given.foreground, atol=0.5001 / 255)


def test_hard_masks_and_components_are_palettes(tmp_path):
    given = soft_masks()
    write_frame(tmp_path, "bear", "00003", given)
    for kind, want in (
        ("hard", given.foreground > 0.5),
        ("comp", given.components.argmax(0)),
    ):
        path = tmp_path / kind / "bear" / "00003.png"
        with Image.open(path) as image:
            assert image.mode == "P"
            shown = np.array(image.convert("RGB"))
        np.testing.assert_array_equal(images.read_labels(path), want)
        first = [0, 0, 0] if kind == "hard" else [128, 0, 0]
        np.testing.assert_array_equal(shown[want == 0], [first] * (want == 0).sum())


def test_without_components_there_are_no_files_of_them(tmp_path):
    write_frame(tmp_path, "bear", "00003", SoftMasks(soft_masks().foreground, None))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hard", "soft"]
    found = read_soft(tmp_path / "soft" / "bear" / "00003.npz")
    assert found.components is None


def test_a_mask_on_the_threshold_is_at_rest(tmp_path):
    half = np.array([[0.5, 0.5005, 0.0, 1.0]], np.float32)
    write_frame(tmp_path, "a", "1", SoftMasks(half, None))
    found = read_hard(tmp_path / "hard" / "a" / "1.png", (1, 4))
    np.testing.assert_array_equal(found, [[0, 1, 0, 1]])


def test_hard_masks_come_back(tmp_path):
    labels = np.arange(54).reshape(SIZE) % 3
    write_frame(tmp_path, "bear", "00001", soft_masks(), labels)
    places = [tmp_path / "hard" / "bear" / f"0000{t}.png" for t in (1, 2, 3)]
    images.write_image(places[1], np.uint8(255 * (labels == 2)))  # The official tool.
    places[2].write_bytes(b"")
    found = [read_hard(place, SIZE) for place in places[:2]]
    np.testing.assert_array_equal(found, [labels, labels == 2])
    assert found[0].dtype == found[1].dtype == np.int32
    with pytest.raises(FrameError, match=r"00003\.png: not a readable image"):
        read_hard(places[2], SIZE)
    with pytest.raises(FrameError, match="9 x 6 pixels; the clip has 9 x 5"):
        read_hard(places[0], (5, 9))


BAD_SOFT = {
    "no foreground": ({"masks": np.zeros(SIZE, np.float16)}, "expected an array"),
    "whole numbers": ({"foreground": np.zeros(SIZE, np.uint8)}, "uint8"),
    "stacked": ({"foreground": np.zeros((2, *SIZE), np.float16)}, "of 2 axes"),
    "flat components": (
        {"foreground": np.zeros(SIZE, np.float16), "components": np.zeros(SIZE)},
        "of 3 axes",
    ),
    "pickled": ({"foreground": np.array({1: 2}, object)}, "no readable npz"),
}


@pytest.mark.parametrize("what", BAD_SOFT)
def test_a_bad_soft_file_costs_its_frame(tmp_path, what):
    columns, reason = BAD_SOFT[what]
    np.savez(tmp_path / "a.npz", **columns)
    with pytest.raises(FrameError, match=reason):
        read_soft(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("foreground", "labels", "reason"),
    [
        (np.zeros((1, 2, 3)), None, "expected"),
        (np.full(SIZE, 1.5), None, "outside"),
        (np.full(SIZE, -0.1), None, "outside"),
        (np.full(SIZE, np.nan), None, "outside"),
        (np.zeros(SIZE), np.zeros((2, 2), int), "labels"),
        (np.zeros(SIZE), np.full(SIZE, 255), "expected 0..254"),
        (np.zeros(SIZE), np.full(SIZE, -1), "expected 0..254"),
    ],
)
def test_what_is_no_result_is_not_written(tmp_path, foreground, labels, reason):
    with pytest.raises(ValueError, match=reason):
        write_frame(tmp_path, "a", "1", SoftMasks(foreground, None), labels)
    assert not list(tmp_path.iterdir())


def test_the_palette_is_that_of_davis():
    colors = motion_results.davis_palette()
    # The first 9 entries of the annotations' palette.
    want = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    want += [[128, 0, 128], [0, 128, 128], [128, 128, 128], [64, 0, 0]]
    np.testing.assert_array_equal(colors[:9], want)
    np.testing.assert_array_equal(colors[255], [224, 224, 192])
    assert len({tuple(row) for row in colors.tolist()}) == 256
