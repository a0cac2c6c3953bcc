"""Masks of what moves: read by the names of frames, as a stream of the clip."""

import numpy as np
import pytest

from egojax.data import images
from egojax.data.motion_masks import with_motion
from egojax.errors import FrameError, UsageError
from egojax.types import Clip

CLIP = Clip("mine", ("frame_01", "frame_02", "frame_03"), (4, 6))


def write(folder, **masks) -> None:
    folder.mkdir()
    for name, mask in masks.items():
        images.write_labels(folder / f"{name}.png", mask)


def test_masks_are_of_their_frames_and_others_are_not_known(tmp_path):
    mask = np.zeros((4, 6), np.int32)
    mask[1, 2:5] = 7
    write(tmp_path / "m", frame_01=mask, frame_03=np.zeros((4, 6), np.int32))
    clip = with_motion(CLIP, tmp_path / "m")
    found = clip.streams["motion"]
    assert found[0].dtype == bool and np.array_equal(found[0], mask > 0)
    assert found[1] is None
    assert found[2] is not None and not found[2].any()
    assert len(clip.notes) == 1 and "frame_02" in clip.notes[0]


def test_masks_may_be_named_by_numbers(tmp_path):
    write(tmp_path / "m", **{"2": np.ones((4, 6), np.int32)})
    found = with_motion(CLIP, tmp_path / "m").streams["motion"]
    assert found[0] is None and found[1].all()


def test_a_mask_of_another_size_is_an_error_of_its_frame(tmp_path):
    write(tmp_path / "m", frame_01=np.ones((5, 6), np.int32))
    with pytest.raises(FrameError, match=r"frame_01\.png.*5"):
        with_motion(CLIP, tmp_path / "m").streams["motion"][0]


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        with_motion(CLIP, tmp_path / "none")
    write(tmp_path / "m", other=np.ones((4, 6), np.int32))
    with pytest.raises(UsageError, match="no name here is a frame"):
        with_motion(CLIP, tmp_path / "m")
