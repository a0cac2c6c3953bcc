"""FBMS-59: the release with its two kinds of annotation, and the converted layout."""

import cv2
import numpy as np
import pytest

from egojax.data import fbms, images
from egojax.errors import FrameError, UsageError

SIZE = (6, 9)


def write_frames(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        images.write_image(folder / f"{name}.jpg", np.zeros((*SIZE, 3), np.uint8))


def write_gray(path, *values):
    """A row of each value, the rest 0."""
    pixels = np.zeros(SIZE, np.uint8)
    for row, value in enumerate(values):
        pixels[row] = value
    if path.suffix == ".ppm":
        pixels = np.stack([pixels] * 3, -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def rows(*marked):
    labels = np.zeros(SIZE, np.int32)
    labels[list(marked)] = 1
    return labels


def test_gray_annotations_of_the_release_belong_to_the_frame_of_their_number(tmp_path):
    folder = tmp_path / "Testset" / "cars1"
    write_frames(folder, [f"cars1_{n:02d}" for n in (9, 10, 11, 12)])
    write_gray(folder / "GroundTruth" / "cars1_10.pgm", 0, 25, 26, 255)
    write_gray(folder / "GroundTruth" / "cars1_12.pgm", 100)
    (folder / "GroundTruth" / "cars1Def.dat").write_text("2\n")
    clip = fbms.read_clip(tmp_path, "cars1")
    assert clip.frame_ids == ("cars1_09", "cars1_10", "cars1_11", "cars1_12")
    assert [t for t in range(4) if clip.truth.labels[t] is not None] == [1, 3]
    # 0.1 * 255 = 25.5.
    np.testing.assert_array_equal(clip.truth.labels[1], rows(2, 3))
    np.testing.assert_array_equal(clip.truth.labels[3], rows(0))
    assert "nothing for 2 frames" in clip.notes[0] and clip.labels is None


def test_in_colored_annotations_white_is_background(tmp_path):
    folder = tmp_path / "Trainingset" / "bear01"
    write_frames(folder, ["bear01_0001", "bear01_0002"])
    truth = folder / "GroundTruth"
    write_gray(truth / "bear01_0001_gt.ppm", 255, 253, 252, 26, 25)
    write_gray(truth / "bear01_0001_gt_PROB.ppm", 9)
    write_gray(truth / "bear01_0002.pgm", 255)  # Beside .ppm these do not count.
    clip = fbms.read_clip(tmp_path, "bear01")
    # 0.99 * 255 = 252.45.
    np.testing.assert_array_equal(clip.truth.labels[0], rows(2, 3))
    assert clip.truth.labels[1] is None


@pytest.mark.parametrize(
    ("sequence", "values", "marked"),
    [("marple7", (12, 13, 102), (1, 2)), ("marple2", (26, 102, 103), (2,))],
)
def test_two_sequences_have_thresholds_of_their_own(tmp_path, sequence, values, marked):
    folder = tmp_path / "Testset" / sequence
    write_frames(folder, [f"{sequence}_1"])
    write_gray(folder / "GroundTruth" / f"{sequence}_1.pgm", *values)
    clip = fbms.read_clip(tmp_path, sequence)
    np.testing.assert_array_equal(clip.truth.labels[0], rows(*marked))


def test_annotations_that_count_images_find_theirs(tmp_path):
    folder = tmp_path / "Testset" / "tennis"
    write_frames(folder, ["tennis454", "tennis455", "tennis456"])
    write_gray(folder / "GroundTruth" / "tennis_002.pgm", 255)
    clip = fbms.read_clip(tmp_path, "tennis")
    assert clip.truth.labels[0] is None and clip.truth.labels[2] is None
    np.testing.assert_array_equal(clip.truth.labels[1], rows(0))


def test_the_converted_layout_is_read(tmp_path):
    write_frames(tmp_path / "JPEGImages" / "cats01", ["00001", "00002", "00003"])
    write_gray(tmp_path / "Annotations" / "cats01" / "00002.png", 255, 128, 129)
    clip = fbms.read_clip(tmp_path, "cats01")
    assert clip.frame_ids == ("00001", "00002", "00003")
    np.testing.assert_array_equal(clip.truth.labels[1], rows(0, 2))
    assert clip.truth.labels[0] is None
    assert fbms.sequences(tmp_path, "all") == ("cats01",)
    assert fbms.sequences(tmp_path, "train") == ()
    with pytest.raises(UsageError, match="without 29 of 30 sequences: camel01"):
        fbms.sequences(tmp_path)


def test_sequences_are_those_of_the_folders_or_of_the_published_numbers(tmp_path):
    assert len(set(fbms.TEST)) == 30
    for name in ("cars10", "cars2"):
        (tmp_path / "a" / "Testset" / name).mkdir(parents=True)
    (tmp_path / "a" / "Trainingset" / "bear01").mkdir(parents=True)
    assert fbms.sequences(tmp_path / "a") == ("cars2", "cars10")
    assert fbms.sequences(tmp_path / "a", "train") == ("bear01",)
    assert fbms.sequences(tmp_path / "a", "all") == ("bear01", "cars2", "cars10")
    for name in (*fbms.TEST, "bear01"):
        (tmp_path / "b" / "JPEGImages" / name).mkdir(parents=True)
    assert fbms.sequences(tmp_path / "b") == fbms.TEST
    assert fbms.sequences(tmp_path / "b", "train") == ("bear01",)
    for root in ("a", "b"):
        with pytest.raises(UsageError, match="no split 'val' of FBMS-59; there are"):
            fbms.sequences(tmp_path / root, "val")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), r"0 annotations .* 0 different numbers"),
        (("cars1_gt.ppm",), "1 annotations"),
        (("a_1.pgm", "b_1.pgm"), "2 annotations .* 1 different numbers"),
        (("a.pgm",), "1 annotations"),
        (("cars1_77.pgm",), "no name here is a frame"),
    ],
)
def test_annotations_that_name_no_frame_are_told(tmp_path, names, reason):
    folder = tmp_path / "Testset" / "cars1"
    write_frames(folder, ["cars1_08", "cars1_09"])
    (folder / "GroundTruth").mkdir()
    for name in names:
        write_gray(folder / "GroundTruth" / name, 255)
    with pytest.raises(UsageError, match=reason):
        fbms.read_clip(tmp_path, "cars1")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="nothing: no such folder"):
        fbms.read_clip(tmp_path / "nothing", "cars1")
    with pytest.raises(UsageError, match="no sequence 'cars1'; expected it in"):
        fbms.read_clip(tmp_path, "cars1")
    with pytest.raises(UsageError, match="Testset: no such folder"):
        fbms.sequences(tmp_path)
    write_frames(tmp_path / "Testset" / "cars1", ["cars1_01"])
    clip = fbms.read_clip(tmp_path, "cars1")
    assert clip.truth is None and "no annotations" in clip.notes[0]
    with pytest.raises(UsageError, match=r"no sequence '\.\./Testset/cars1'"):
        fbms.read_clip(tmp_path, "../Testset/cars1")


def test_a_bad_annotation_costs_its_frame(tmp_path):
    folder = tmp_path / "Testset" / "cars1"
    write_frames(folder, ["cars1_01", "cars1_02"])
    write_gray(folder / "GroundTruth" / "cars1_01.pgm", 255)
    (folder / "GroundTruth" / "cars1_02.pgm").write_bytes(b"P5 9 6 255 ")
    clip = fbms.read_clip(tmp_path, "cars1")
    assert clip.truth.labels[0].any()
    with pytest.raises(FrameError, match=r"cars1_02\.pgm: not a readable image"):
        clip.truth.labels[1]


@pytest.mark.parametrize(
    ("name", "number"),
    [("horses05_0010", 10), ("bmx_06668", 6668), ("girl_021", 21), ("tennis0123", 123)],
)
def test_frames_have_the_official_numbers(name, number):
    """Spec 10.7 of LRTL."""
    assert images.last_number(name) == number
