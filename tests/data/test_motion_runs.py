"""Motion groups of a run as segments of a clip, and why a run is refused."""

import json
import pathlib

import numpy as np
import pytest

from egojax.data import motion_runs
from egojax.errors import FrameError, UsageError
from egojax.types import Boxes, Clip, SegmentFeatures, Segments, Source
from tests import motion_run_folders
from tests.motion_run_folders import GLIDING

NAMES = ("f01", "f02", "f03")
SIZE = (4, 6)
CLIP = Clip(
    "mine",
    NAMES,
    SIZE,
    labels=Source.of([np.ones(SIZE, np.int32)] * 3),
    segments=Source.of([Segments(np.ones(1), np.zeros(1), np.ones(1))] * 3),
    features=Source.of([SegmentFeatures(np.ones(1), np.ones((1, 2)))] * 3),
    boxes=Source.of([Boxes(np.ones(1), np.ones((1, 4)), np.ones(1))] * 3),
)


def mask_of(t: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.int32)
    mask[1:3, t : t + 2] = 1 + t
    return mask


def write_run(root: pathlib.Path, names=NAMES, **about) -> pathlib.Path:
    masks = {name: mask_of(t) for t, name in enumerate(names)}
    return motion_run_folders.write_run(root, "mine", masks, **about)


def test_groups_are_the_segments_and_others_are_left_out(tmp_path):
    clip = motion_runs.with_motion_groups(CLIP, write_run(tmp_path / "run"))
    for t in range(3):
        np.testing.assert_array_equal(clip.labels[t], mask_of(t))
    assert clip.segments is clip.features is clip.boxes is None
    assert clip.notes == (f"segments are the motion groups of {tmp_path / 'run'}",)


def test_a_clip_that_is_played_again_is_refused(tmp_path):
    clip = CLIP.select([0, 1, 0, 1])
    with pytest.raises(UsageError, match="frames of mine come twice"):
        motion_runs.with_motion_groups(clip, write_run(tmp_path / "run"))


def test_frames_without_a_mask_have_no_segments_and_are_told(tmp_path):
    run = write_run(tmp_path / "run", NAMES[:2])
    clip = motion_runs.with_motion_groups(CLIP, run)
    assert clip.labels[2] is None
    assert "nothing for 1 frames (f03)" in clip.notes[1]


def test_a_damaged_mask_costs_its_frame_alone(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "clips/mine/labels/f02.png").write_bytes(b"no image")
    clip = motion_runs.with_motion_groups(CLIP, run)
    np.testing.assert_array_equal(clip.labels[0], mask_of(0))
    with pytest.raises(FrameError, match="f02"):
        clip.labels[1]


def test_a_run_folder_is_told_from_a_folder_of_masks(tmp_path):
    run = write_run(tmp_path / "run")
    assert motion_runs.is_run(run) and motion_runs.is_run(str(run))
    assert not motion_runs.is_run(run / "clips" / "mine" / "labels")
    assert motion_runs.label_folder(CLIP, run) == run / "clips" / "mine" / "labels"


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"job": "decomposition"}, "a run of decomposition; expected a run folder of"),
        ({}, "nothing of the clip yours; it has mine"),
    ],
)
def test_runs_of_other_jobs_and_clips_are_refused(tmp_path, about, said):
    run = write_run(tmp_path / "run", **about)
    clip = CLIP if about else CLIP.replace(name="yours")
    with pytest.raises(UsageError, match=said):
        motion_runs.with_motion_groups(clip, run)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"config\.data\.motion: .*no run folder"):
        motion_runs.label_folder(CLIP, tmp_path / "none")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config\.json"):
        motion_runs.label_folder(CLIP, tmp_path)


def test_a_run_that_has_not_finished_is_refused(tmp_path):
    run = write_run(tmp_path / "run")
    done = run / "clips" / "mine" / "done.json"
    done.write_text(json.dumps({"masks": {"read": {}}}))
    with pytest.raises(UsageError, match="masks of mine has not finished; run conf"):
        motion_runs.label_folder(CLIP, run)


def test_another_world_of_the_same_name_is_refused(tmp_path):
    run = write_run(tmp_path / "run")
    assert motion_runs.label_folder(CLIP, run, {**GLIDING, "faults": "all"}).is_dir()
    other = {**GLIDING, "scene": "kitchen"}
    with pytest.raises(UsageError, match=r"world\.scene is 'gliding' there and 'kitch"):
        motion_runs.label_folder(CLIP, run, other)
    # A clip that was not drawn by the run is not compared.
    run = write_run(tmp_path / "folder", data={"name": "folder"})
    assert motion_runs.label_folder(CLIP, run, other).is_dir()


def test_other_frames_and_sizes_are_refused(tmp_path):
    run = write_run(tmp_path / "run", ("a", "b"))
    with pytest.raises(UsageError, match="no name here is a frame; the frames are f01"):
        motion_runs.with_motion_groups(CLIP, run)
    with pytest.raises(UsageError, match=r"masks of 6 x 4 pixels; mine has .* 12 x 8"):
        motion_runs.label_folder(CLIP.replace(size_hw=(8, 12)), run)
