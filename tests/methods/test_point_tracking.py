"""Points along given flow: where they go, when they end, where new ones begin."""

import cv2
import numpy as np

from egojax.methods import point_tracking
from egojax.methods.point_tracking import Seen, TrackSettings

SIZE = (60, 80)
SETTINGS = TrackSettings(stride=6)


def _image(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (*SIZE, 3))
    return cv2.GaussianBlur(noise, (0, 0), 1.5).astype(np.uint8)


def _flow(x: float, y: float) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32), (*SIZE, 2)).copy()


def _follow(flows, images=None, settings=SETTINGS):
    """Frames of a clip with these flows to the next frame, and exactly back."""
    state, frames = point_tracking.start(), []
    for t in range(len(flows) + 1):
        image = _image() if images is None else images[t]
        flow = flows[t - 1] if t else None
        onward = flows[t] if t < len(flows) else None
        back = None if flow is None else -flow
        state, seen = point_tracking.step(state, image, flow, back, onward, settings)
        frames.append(seen)
    return point_tracking.gather(frames, SIZE)


def test_points_go_where_the_flow_says():
    tracks = _follow([_flow(1.5, -0.5)] * 3)
    first = tracks.first == 0
    whole, places = tracks.through(0, 4)
    assert len(whole) > 40
    steps = np.diff(places, axis=0)
    np.testing.assert_allclose(
        steps, np.broadcast_to([1.5, -0.5], steps.shape), atol=1e-4
    )
    assert tracks.size_hw == SIZE and (tracks.count[first] <= 4).all()


def test_points_begin_on_the_grid_at_centres_of_pixels():
    tracks = _follow([])
    np.testing.assert_allclose((tracks.xy - 3.5) % 6, 0, atol=1e-6)


def test_a_point_ends_where_the_flow_does_not_lead_back():
    flow = _flow(2, 0)
    state, seen = point_tracking.step(
        point_tracking.start(), _image(), None, None, flow, SETTINGS
    )
    back = _flow(-2, 0)
    back[:, 40:] = (-2.6, 0)  # 0.6 pixels off, where half a pixel is allowed.
    _, after = point_tracking.step(state, _image(), flow, back, None, SETTINGS)
    kept = np.isin(seen.ids, after.ids)
    np.testing.assert_array_equal(kept, seen.places[:, 0] + 2 < 40.2)


def test_points_end_outside_the_image_and_new_ones_fill_the_gap():
    tracks = _follow([_flow(12, 0)] * 2)
    for frame in range(3):
        _, places = tracks.at(frame)
        assert (places >= 0).all() and (places <= (80, 60)).all()
        assert places[:, 0].min() < 6  # Sown where the picture has moved away from.
    assert (tracks.first > 0).any()


def test_nothing_is_sown_without_texture_or_on_a_motion_boundary():
    plain = np.full((*SIZE, 3), 90, np.uint8)
    assert len(_follow([], [plain])) == 0
    flow = _flow(0, 0)
    flow[:, 40:, 0] = 5
    _, places = _follow([flow, flow]).at(0)
    assert len(places) and not ((places[:, 0] > 38.5) & (places[:, 0] < 41.5)).any()


def test_a_cell_that_holds_a_point_gets_no_other():
    tracks = _follow([_flow(0, 0)] * 3)
    assert (tracks.first == 0).all() and (tracks.count == 4).all()


def test_a_frame_that_is_left_out_ends_all_tracks():
    state, _ = point_tracking.step(
        point_tracking.start(), _image(), None, None, _flow(0, 0), SETTINGS
    )
    state = point_tracking.skip(state)
    state, seen = point_tracking.step(state, _image(), None, None, None, SETTINGS)
    assert seen.frame == 2 and seen.ids.min() >= len(seen.ids)


def test_corner_strength_has_mean_one_and_is_zero_for_a_plain_image():
    np.testing.assert_allclose(
        point_tracking.corner_strength(_image()).mean(), 1, rtol=1e-4
    )
    assert not point_tracking.corner_strength(np.zeros((*SIZE, 3), np.uint8)).any()


def test_gather_sorts_by_track_and_keeps_the_order_of_frames():
    frames = [
        Seen(0, np.array([0, 1]), np.array([[1, 1], [2, 2]], np.float32)),
        Seen(1, np.array([1, 2]), np.array([[3, 3], [4, 4]], np.float32)),
    ]
    tracks = point_tracking.gather(frames, SIZE)
    np.testing.assert_array_equal(tracks.first, [0, 0, 1])
    np.testing.assert_array_equal(tracks.count, [1, 2, 1])
    np.testing.assert_array_equal(tracks.xy[:, 0], [1, 2, 3, 4])
    assert len(point_tracking.gather([], SIZE)) == 0


def test_a_point_lives_for_so_many_frames_and_is_sown_anew():
    settings = TrackSettings(stride=6, max_frames=3)
    tracks = _follow([_flow(0, 0)] * 5, settings=settings)
    assert {*tracks.count.tolist()} == {3} and {*tracks.first.tolist()} == {0, 3}
    ends = _follow([_flow(0, 0)] * 5)
    assert {*ends.count.tolist()} == {6}
