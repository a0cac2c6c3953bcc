"""DAVIS roots: both years, lists of sequences, folders that lack something."""

import cv2
import numpy as np
import pytest
from PIL import Image

from egojax.data import davis, images
from egojax.errors import FrameError, UsageError

SIZE = (6, 9)


def write_palette(path, indices):
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(list(range(256)) * 3)
    image.save(path)


def write_root(root, size="480p", names=("bear", "dog"), frames=3, palette=False):
    """A small root; in frame t an object moves to the right, another is still."""
    for name in names:
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / size / name).mkdir(parents=True)
        for t in range(frames):
            pixels = np.full((*SIZE, 3), 40 * t, np.uint8)
            path = root / "JPEGImages" / size / name / f"{t:05d}.jpg"
            images.write_image(path, pixels)
            path = root / "Annotations" / size / name / f"{t:05d}.png"
            if palette:
                write_palette(path, objects(t))
            else:
                cv2.imwrite(str(path), np.uint8(255 * (objects(t) > 0)))
    return root


def objects(t):
    labels = np.zeros(SIZE, np.int32)
    labels[1:3, 1 + t : 3 + t], labels[4, 2:7] = 1, 2
    return labels


@pytest.mark.parametrize("size", ["480p", "1080p", ""])
@pytest.mark.parametrize("palette", [True, False])
def test_davis_2016_has_one_foreground(tmp_path, size, palette):
    root = write_root(tmp_path, size, palette=palette)
    clip = davis.read_clip(root, "bear")
    assert clip.frame_ids == ("00000", "00001", "00002")
    assert (clip.name, clip.size_hw, clip.fps) == ("bear", SIZE, 24.0)
    assert clip.labels is None and clip.notes == ()
    assert clip.frames[1].mean() == pytest.approx(40, abs=2)
    for t in range(3):
        np.testing.assert_array_equal(clip.truth.labels[t], objects(t) > 0)
        assert clip.truth.labels[t].dtype == np.int32


def test_davis_2017_keeps_objects_apart(tmp_path):
    root = write_root(tmp_path, palette=True)
    clip = davis.read_clip(root, "dog", year=2017)
    np.testing.assert_array_equal(clip.truth.labels[2], objects(2))


def test_annotations_of_all_that_moves_are_their_own_folder(tmp_path):
    root = write_root(tmp_path, palette=True)
    folder = root / "Annotations_unsupervised" / "480p" / "dog"
    folder.mkdir(parents=True)
    write_palette(folder / "00001.png", 3 * objects(1))
    clip = davis.read_clip(root, "dog", year=2017, unsupervised=True)
    assert clip.truth.labels[0] is None
    np.testing.assert_array_equal(clip.truth.labels[1], 3 * objects(1))
    assert "nothing for 2 frames" in clip.notes[0]


def test_a_size_may_be_chosen_and_the_smaller_one_is_the_usual(tmp_path):
    write_root(tmp_path, "1080p", frames=2)
    write_root(tmp_path, "480p", frames=3)
    assert davis.read_clip(tmp_path, "bear").num_frames == 3
    assert davis.read_clip(tmp_path, "bear", size="1080p").num_frames == 2
    with pytest.raises(UsageError, match="Full-Resolution: no such folder"):
        davis.read_clip(tmp_path, "bear", size="Full-Resolution")


def test_lists_of_both_years_are_read(tmp_path):
    root = write_root(tmp_path, names=("bear", "dog", "cow"))
    lists = root / "ImageSets" / "480p"
    lists.mkdir(parents=True)
    rows = [
        f"/JPEGImages/480p/{name}/{t:05d}.jpg /Annotations/480p/{name}/{t:05d}.png"
        for name in ("dog", "bear")
        for t in range(3)
    ]
    (lists / "val.txt").write_text("\n".join(rows) + "\n")
    assert davis.sequences(root) == ("dog", "bear")
    (root / "ImageSets" / "2017").mkdir()
    (root / "ImageSets" / "2017" / "val.txt").write_text("cow\r\n\r\nbear\r\n")
    assert davis.sequences(root, year=2017) == ("cow", "bear")
    assert davis.sequences(root, "all", year=2017) == ("bear", "cow", "dog")
    (root / "ImageSets" / "2016").mkdir()
    (root / "ImageSets" / "2016" / "val.txt").write_text("cow")
    assert davis.sequences(root) == ("cow",)
    (root / "ImageSets" / "2016" / "train.txt").write_text("dog")
    assert davis.sequences(root, "trainval") == ("dog", "cow")  # Not bear.


def test_without_lists_the_published_sequences_count(tmp_path):
    assert len(set(davis.VAL_2016)) == 20
    root = write_root(tmp_path, names=(*davis.VAL_2016, "bear"), frames=1)
    assert davis.sequences(root) == davis.VAL_2016
    assert davis.sequences(root, "train") == ("bear",)
    assert davis.sequences(root, "trainval") == ("bear", *davis.VAL_2016)
    with pytest.raises(UsageError, match=r"2016/test\.txt: no such file"):
        davis.sequences(root, "test")
    with pytest.raises(UsageError, match=r"2017/val\.txt: no such file"):
        davis.sequences(root, year=2017)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "no text"),
        (b"dog\n../secret\n", "line 2: '../secret' is no sequence"),
        (b"dog\n..\n", "without 1 of 2 sequences: .."),
        (b"dog\ncow\n", "without 1 of 2 sequences: cow"),
    ],
)
def test_a_bad_list_is_told(tmp_path, text, reason):
    root = write_root(tmp_path)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_bytes(text)
    with pytest.raises(UsageError, match=reason):
        davis.sequences(root, year=2017)


def test_roots_and_sequences_that_are_not_there_are_told(tmp_path):
    with pytest.raises(UsageError, match="JPEGImages: no such folder"):
        davis.sequences(tmp_path)
    with pytest.raises(UsageError, match="JPEGImages: no such folder"):
        davis.read_clip(tmp_path, "bear")
    root = write_root(tmp_path)
    with pytest.raises(UsageError, match="no sequence 'cow'; there are bear, dog"):
        davis.read_clip(root, "cow")
    with pytest.raises(UsageError, match=r"no sequence '\.\./480p'"):
        davis.read_clip(root, "../480p")
    with pytest.raises(UsageError, match="without 19 of 20 sequences"):
        davis.sequences(root)


def test_a_bad_annotation_costs_its_frame_and_none_at_all_is_told(tmp_path):
    root = write_root(tmp_path)
    folder = root / "Annotations" / "480p" / "bear"
    (folder / "00000.png").write_bytes(b"hello")
    cv2.imwrite(str(folder / "00001.png"), np.zeros((3, 3), np.uint8))
    clip = davis.read_clip(root, "bear")
    for t, reason in ((0, "not a readable image"), (1, "3 x 3 pixels")):
        with pytest.raises(FrameError, match=reason):
            clip.truth.labels[t]
    assert clip.truth.labels[2].any()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    clip = davis.read_clip(root, "bear")
    assert clip.truth is None and "no annotations" in clip.notes[0]


def test_a_real_sequence_is_read(tmp_path, real_data):
    """Bmx-trees of the validation set, at half its size: 80 frames, all annotated."""
    for kind, name in (("JPEGImages", "frames"), ("Annotations", "masks")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "bmx-trees").symlink_to(real_data / "davis_bmx-trees" / name)
    clip = davis.read_clip(tmp_path, "bmx-trees")
    assert (clip.num_frames, clip.size_hw, clip.notes) == (80, (240, 432), ())
    share = [labels.mean() for labels in clip.truth.labels]
    # The rider is small and never out of sight.
    assert min(share) > 0.002 and max(share) < 0.06
    assert clip.frames[79].shape == (240, 432, 3)
