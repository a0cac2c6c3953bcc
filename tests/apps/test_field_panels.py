"""The published figure: which frames have one, and what its panels show."""

import cv2
import numpy as np
import pytest

from egojax.apps import field_panels
from egojax.errors import FrameError
from egojax.types import SkippedFrame, Source
from tests.rendered_clips import SIZE_HW, make_clip, make_images, write_streams


def names_in(folder):
    return sorted(p.stem for p in (folder / "official/masks/per_sample").glob("*"))


def test_annotated_held_out_frames_have_a_figure(tmp_path):
    clip = make_clip()
    write_streams(tmp_path / "streams", clip, [0, 1, 3, 6])
    assert field_panels.write_panels(tmp_path, clip) == []
    assert names_in(tmp_path) == ["f000", "f006"]  # 1 is trained on, 3 has no mask.
    path = tmp_path / "official" / "masks" / "per_sample" / "f006.png"
    assert cv2.imread(str(path)).shape == (500, 800, 3)


def test_a_clip_without_any_true_mask_has_figures_too(tmp_path):
    clip = make_clip(annotated=False)
    write_streams(tmp_path / "streams", clip, [0, 3, 6])
    field_panels.write_panels(tmp_path, clip)
    assert names_in(tmp_path) == ["f000", "f003", "f006"]


def test_a_subset_is_spread_over_the_held_out_frames(tmp_path):
    clip = make_clip(15, annotated=False)
    write_streams(tmp_path / "streams", clip, list(range(15)), num_streams=2)
    field_panels.write_panels(tmp_path, clip, num_samples=2)
    assert names_in(tmp_path) == ["f000", "f012"]


def test_a_torn_photograph_is_left_out_and_told(tmp_path):
    clip = make_clip(4, annotated=False)

    def read(t):
        if t == 0:
            raise FrameError("torn.jpg: not a readable image")
        return clip.frames[t]

    write_streams(tmp_path / "streams", clip, [0, 3])
    skipped = field_panels.write_panels(tmp_path, clip.replace(frames=Source(read, 4)))
    assert skipped == [SkippedFrame(0, "torn.jpg: not a readable image")]
    assert names_in(tmp_path) == ["f003"]


@pytest.mark.parametrize("num_streams", [1, 3])
def test_panels_stand_in_three_rows_and_the_third_is_empty(num_streams):
    flat = np.zeros((*SIZE_HW, 3), np.float32)
    colors = {"rgb": (1.0, 0, 0), "static_rgb": (0, 1.0, 0)}
    images = make_images(0, num_streams)._replace(
        **{name: flat + np.float32(c) for name, c in colors.items()}
    )
    photo = np.full((*SIZE_HW, 3), (0, 0, 255), np.uint8)
    figure = field_panels.panels("f1", photo, images, None)
    assert figure.shape == (500, 800, 3)
    rows, columns = np.array_split(figure, 3), 3
    cells = [np.array_split(row, columns, axis=1) for row in rows]

    def share(cell, color):
        return (cell == color).all(-1).mean()

    assert share(cells[0][0], (0, 0, 255)) > 0.2
    assert share(cells[0][1], (255, 0, 0)) > 0.2
    assert share(cells[0][2][60:], (255, 255, 255)) == 1
    assert share(cells[1][0], (0, 255, 0)) > 0.2
    is_there = num_streams > 1
    for cell in (cells[1][1], cells[1][2], cells[2][1], cells[2][2]):
        assert (share(cell, (255, 255, 255)) < 0.9) == is_there
