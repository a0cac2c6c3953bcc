"""SegTrack v2: one object, several in folders, and the converted layout."""

import cv2
import numpy as np
import pytest

from egojax.data import images, segtrack
from egojax.errors import FrameError, UsageError

SIZE = (6, 9)
NAMES = ("bmx_06668", "bmx_06669")


def write_frames(root, sequence="bmx", suffix=".png"):
    folder = root / "JPEGImages" / sequence
    folder.mkdir(parents=True)
    for name in NAMES:
        images.write_image(folder / f"{name}{suffix}", np.zeros((*SIZE, 3), np.uint8))


def write_mask(path, *columns, channels=1, value=255):
    pixels = np.zeros((*SIZE, channels), np.uint8)
    pixels[:, list(columns)] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def marked(*columns):
    labels = np.zeros(SIZE, np.int32)
    labels[:, list(columns)] = 1
    return labels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("kind", ["GroundTruth", "Annotations"])
def test_one_object_is_read(tmp_path, channels, suffix, kind):
    write_frames(tmp_path, suffix=suffix)
    for t, name in enumerate(NAMES):
        path = tmp_path / kind / "bmx" / f"{name}.png"
        write_mask(path, t, 3, channels=channels)
    clip = segtrack.read_clip(tmp_path, "bmx")
    assert clip.frame_ids == NAMES and clip.size_hw == SIZE
    for t in range(2):
        np.testing.assert_array_equal(clip.truth.labels[t], marked(t, 3))
    assert clip.labels is None and clip.notes == ()


def test_several_objects_are_one_foreground(tmp_path):
    write_frames(tmp_path)
    truth = tmp_path / "GroundTruth" / "bmx"
    write_mask(truth / "1" / "bmx_06668.png", 1, 2)
    write_mask(truth / "2" / "bmx_06668.png", 2, 5)
    write_mask(truth / "2" / "bmx_06669.png", 7)
    clip = segtrack.read_clip(tmp_path, "bmx")
    # Where both are, the sum of 8-bit values would be below 255, or 0.
    np.testing.assert_array_equal(clip.truth.labels[0], marked(1, 2, 5))
    np.testing.assert_array_equal(clip.truth.labels[1], marked(7))
    assert clip.truth.labels[0].dtype == np.int32
    assert any("nothing for 1 frames" in note for note in clip.notes)


def test_merged_annotations_beside_the_parts_count(tmp_path):
    write_frames(tmp_path)
    write_mask(tmp_path / "Annotations" / "bmx" / "bmx_06668.png", 4)
    write_mask(tmp_path / "Annotations" / "bmx" / "1" / "bmx_06668.png", 1)
    write_mask(tmp_path / "GroundTruth" / "bmx" / "1" / "bmx_06668.png", 2)
    clip = segtrack.read_clip(tmp_path, "bmx")
    np.testing.assert_array_equal(clip.truth.labels[0], marked(4))
    assert clip.truth.labels[1] is None


def test_sequences_are_the_folders_and_the_published_are_14(tmp_path):
    assert len(set(segtrack.SEQUENCES)) == 14
    write_frames(tmp_path)
    write_frames(tmp_path, "girl")
    assert segtrack.sequences(tmp_path) == ("bmx", "girl")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="JPEGImages: no such folder"):
        segtrack.sequences(tmp_path)
    write_frames(tmp_path)
    with pytest.raises(UsageError, match="no sequence 'girl'; there are bmx"):
        segtrack.read_clip(tmp_path, "girl")
    clip = segtrack.read_clip(tmp_path, "bmx")
    assert clip.truth is None and "no annotations" in clip.notes[0]
    write_mask(tmp_path / "GroundTruth" / "bmx" / "frog_1.png", 1)
    with pytest.raises(UsageError, match="no name here is a frame"):
        segtrack.read_clip(tmp_path, "bmx")
    (tmp_path / "JPEGImages" / "worm").mkdir()
    with pytest.raises(UsageError, match="worm: no frames here"):
        segtrack.read_clip(tmp_path, "worm")


def test_a_bad_annotation_of_one_object_costs_the_frame(tmp_path):
    write_frames(tmp_path)
    truth = tmp_path / "GroundTruth" / "bmx"
    for name in NAMES:
        write_mask(truth / "1" / f"{name}.png", 1)
        write_mask(truth / "2" / f"{name}.png", 2)
    (truth / "2" / "bmx_06668.png").write_bytes(b"")
    clip = segtrack.read_clip(tmp_path, "bmx")
    with pytest.raises(FrameError, match=r"2/bmx_06668\.png: not a readable image"):
        clip.truth.labels[0]
    np.testing.assert_array_equal(clip.truth.labels[1], marked(1, 2))
