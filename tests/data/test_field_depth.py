import numpy as np
import pytest

from egojax.data import arrays, field_depth, stream_images
from egojax.data.stream_images import StreamImages
from egojax.errors import FrameError, UsageError
from egojax.types import Clip

SIZE = (6, 8)


def _run(tmp_path, depth: np.ndarray, names=("a", "b")):
    folder = tmp_path / "run" / "clips" / "kitchen" / "streams"
    folder.mkdir(parents=True)
    h, w = depth.shape
    flat = np.zeros((h, w), np.float32)
    images = StreamImages(
        rgb=np.zeros((h, w, 3)),
        parts=np.zeros((1, h, w, 3)),
        masks=flat[None],
        depth=flat,
        static_rgb=np.zeros((h, w, 3)),
        static_depth=depth,
        uncertainty=flat,
    )
    for name in names:
        stream_images.write_images(folder / f"{name}.npz", images)
    return tmp_path / "run"


def _clip(*names: str) -> Clip:
    return Clip("kitchen", names, SIZE)


def test_depth_of_the_same_size_is_taken_as_it_is(tmp_path):
    depth = np.linspace(1.0, 3.0, 48, dtype=np.float32).reshape(SIZE)
    depth[0, 0] = np.inf
    clip = field_depth.with_field_depth(_clip("a", "b"), _run(tmp_path, depth))
    np.testing.assert_allclose(clip.static_depth[1], depth, rtol=1e-3)
    assert clip.notes == ()


def test_a_slanted_plane_stays_a_plane_when_it_grows(tmp_path):
    """Disparity of a plane is linear in the image: 1 / z = 0.2 + 0.05 x, by hand."""
    x = (np.arange(4) + 0.5) * 2.0  # Centers of the small pixels, in large ones.
    small = np.tile(1.0 / (0.2 + 0.05 * x), (3, 1)).astype(np.float32)
    clip = field_depth.with_field_depth(_clip("a"), _run(tmp_path, small))
    fine = 1.0 / (0.2 + 0.05 * (np.arange(8) + 0.5))
    np.testing.assert_allclose(clip.static_depth[0][2, 1:-1], fine[1:-1], rtol=2e-3)


def test_what_is_empty_stays_empty_and_does_not_bleed(tmp_path):
    small = np.full((3, 4), 2.0, np.float32)
    small[:, 0] = np.inf
    found = field_depth.with_field_depth(_clip("a"), _run(tmp_path, small))
    found = found.static_depth[0]
    assert np.isinf(found[:, :2]).all() and np.isfinite(found[:, 2:]).all()
    np.testing.assert_allclose(found[:, 2:], 2.0, rtol=1e-3)


def test_frames_that_were_not_rendered_have_none_and_it_is_told(tmp_path):
    run = _run(tmp_path, np.ones(SIZE, np.float32), names=("a",))
    clip = field_depth.with_field_depth(_clip("a", "b"), run)
    assert clip.static_depth[1] is None
    assert "1 frames have no static depth" in clip.notes[-1]


def test_a_run_of_another_clip_and_a_damaged_frame_are_told(tmp_path):
    run = _run(tmp_path, np.ones(SIZE, np.float32))
    with pytest.raises(UsageError, match="no rendered frame of kitchen"):
        field_depth.with_field_depth(_clip("x"), run)
    arrays.write_npz(run / "clips" / "kitchen" / "streams" / "a.npz", {})
    clip = field_depth.with_field_depth(_clip("a"), run)
    with pytest.raises(FrameError, match="no array rgb"):
        clip.static_depth[0]
