"""Frames put one on another: in memory, in a file, on a disk that is full."""

import os
import pathlib
import resource
import tracemalloc

import numpy as np
import pytest

from egojax.data.frame_stack import FrameStack
from egojax.errors import UsageError

FRAMES = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), np.uint8)


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "run" / "fit"


def stacked(frames, most=7, folder=None) -> np.ndarray:
    with FrameStack(most, folder) as stack:
        for frame in frames:
            stack.append(frame)
        return stack.array()


@pytest.mark.parametrize("count", [1, 5, 7])
def test_the_array_holds_the_frames_that_came(folder, count):
    found = stacked(FRAMES[:count], folder=folder)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, FRAMES[:count])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.bool_])
def test_layers_of_any_kind_and_layout_are_kept(folder, dtype):
    """A mask a frame, seen from the back."""
    frames = FRAMES[:, ::-1, ::2, 0].astype(dtype)
    found = stacked(frames, folder=folder)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, frames)


def test_what_a_reader_does_with_its_frame_later_changes_nothing(folder):
    frame = FRAMES[0].copy()
    with FrameStack(2, folder) as stack:
        stack.append(frame)
        frame[:] = 0
        stack.append(frame)
        np.testing.assert_array_equal(stack.array(), [FRAMES[0], frame])


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (np.zeros((1, 1, 3), np.uint8), r"frame 2 is uint8 \(1, 1, 3\), those before"),
        (FRAMES[0].astype(np.float32), r"frame 2 is float32 \(5, 4, 3\)"),
    ],
)
def test_a_frame_unlike_the_others_is_refused_and_never_spread(folder, odd, told):
    with FrameStack(7, folder) as stack:
        stack.append(FRAMES[0])
        stack.append(FRAMES[1])
        with pytest.raises(UsageError, match=told):
            stack.append(odd)
        np.testing.assert_array_equal(stack.array(), FRAMES[:2])


def test_more_frames_than_were_told_are_refused(folder):
    with pytest.raises(IndexError, match="a stack of 6 frames is full"):
        stacked(FRAMES, most=6, folder=folder)


def test_no_frames_are_no_array(folder):
    with pytest.raises(ValueError, match="without frames"):
        stacked([], folder=folder)


def test_in_a_file_frames_take_no_memory_and_leave_nothing(tmp_path):
    frame = np.zeros((128, 128, 3), np.uint8)
    tracemalloc.start()
    try:
        found = stacked([frame] * 40, most=40, folder=tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.nbytes == 40 * frame.nbytes and peak < 4 * frame.nbytes
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_the_file_is_gone_with_the_array(tmp_path):
    """Its blocks too: no handle of this process leads to it any more."""

    process = pathlib.Path("/proc/self")
    if not (process / "maps").exists():
        pytest.skip("this system does not tell what a process has open")

    def open_here() -> int:
        places = [os.path.realpath(handle) for handle in (process / "fd").iterdir()]
        maps = (process / "maps").read_text().splitlines()
        return sum(str(tmp_path) in line for line in places + maps)

    found = stacked(FRAMES, folder=tmp_path)
    assert open_here()
    del found
    assert not open_here()


def test_a_full_disk_is_one_line(tmp_path):
    """As a limit on the size of files has it: three frames fit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(UsageError, match=r"cannot be written: .*frame 3 of 7"):
            stacked(FRAMES, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(UsageError, match="file/fit: cannot be made"):
        stacked(FRAMES, folder=tmp_path / "file" / "fit")
