"""Points along flow that is given: by hand, forward and back, when they are lost."""

import numpy as np
import pytest

from egojax.methods import point_tracking
from egojax.methods.point_following import FlowStep, follow
from egojax.methods.point_tracking import TrackSettings

SIZE = (40, 60)


def _flow(x: float, y: float) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32), (*SIZE, 2)).copy()


def _step(x: float, y: float, error: float = 0.0) -> FlowStep:
    return FlowStep.of(_flow(x, y), _flow(-x + error, -y))


def test_points_go_where_steps_lead_each_from_its_frame_on():
    points = np.array([[10, 10], [20, 5]], np.float32)
    found = follow(points, np.array([0, 2]), [_step(2, 1)] * 3, 0.5)
    np.testing.assert_allclose(
        found.places[:, 0], [[10 + 2 * t, 10 + t] for t in range(4)]
    )
    want = [[20, 5], [20, 5], [20, 5], [22, 6]]
    np.testing.assert_allclose(found.places[:, 1], want)
    np.testing.assert_array_equal(found.seen[:, 0], [True] * 4)
    np.testing.assert_array_equal(found.seen[:, 1], [False, False, True, True])
    assert found.places.dtype == np.float32 and found.seen.dtype == bool


def test_a_point_that_is_lost_moves_on_and_stays_lost():
    steps = [_step(2, 0), _step(2, 0, error=0.6), _step(2, 0)]
    found = follow(np.array([[10, 10]], np.float32), np.zeros(1, int), steps, 0.5)
    np.testing.assert_array_equal(found.seen[:, 0], [True, True, False, False])
    np.testing.assert_allclose(found.places[:, 0, 0], [10, 12, 14, 16])


@pytest.mark.parametrize(
    ("again", "want"), [(0, "1100000"), (1, "1101011"), (2, "1100001"), (9, "1100000")]
)
def test_a_lost_point_is_seen_again_after_steps_in_a_row(again, want):
    """By hand: steps 2 and 4 do not lead back, all others do."""
    steps = [_step(1, 0, error=0.6 * (t in (2, 4))) for t in range(1, 7)]
    found = follow(
        np.array([[10, 10]], np.float32), np.zeros(1, int), steps, 0.5, again
    )
    assert "".join(str(int(seen)) for seen in found.seen[:, 0]) == want
    np.testing.assert_allclose(found.places[:, 0, 0], 10 + np.arange(7))


def test_a_step_that_is_not_known_loses_all_that_have_begun():
    points = np.array([[10, 10], [20, 10], [30, 10]], np.float32)
    steps = [_step(1, 0), None, _step(1, 0)]
    found = follow(points, np.array([0, 2, 3]), steps, 0.5)
    want = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]]
    np.testing.assert_array_equal(found.seen, np.array(want, bool))


def test_points_are_lost_beyond_the_image_and_on_boundaries():
    found = follow(
        np.array([[57, 10]], np.float32), np.zeros(1, int), [_step(2, 0)] * 2, 1
    )
    np.testing.assert_array_equal(found.seen[:, 0], [True, True, False])
    flow = _flow(0, 0)
    flow[:, 30:, 0] = 5
    step = FlowStep.of(flow, np.zeros_like(flow))
    assert step.boundary[:, 30].all()
    points = np.array([[29.5, 10], [5, 10]], np.float32)
    found = follow(points, np.zeros(2, int), [step], 10.0)
    np.testing.assert_array_equal(found.seen[1], [False, True])


def test_the_same_points_as_the_chain_of_a_clip():
    """The oracle: `point_tracking`, which sows the points of frame 0 itself."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*SIZE, 3), np.uint8)
    flows = [_flow(*rng.uniform(-2, 2, 2)) for _ in range(4)]
    state, seen = point_tracking.start(), []
    for t in range(5):
        flow = flows[t - 1] if t else None
        back = None if flow is None else -flow
        state, frame = point_tracking.step(
            state, image, flow, back, None, TrackSettings(texture=0.0)
        )
        seen.append(frame)
    first = seen[0]
    steps = [FlowStep.of(flow, -flow) for flow in flows]
    found = follow(first.places, np.zeros(len(first.ids), int), steps, 0.5)
    for t, frame in enumerate(seen):
        kept = np.isin(first.ids, frame.ids)
        np.testing.assert_array_equal(found.seen[t], kept)
        places = frame.places[np.isin(frame.ids, first.ids)]
        np.testing.assert_allclose(found.places[t][kept], places, atol=1e-5)


def test_no_points_and_no_steps_are_fine():
    found = follow(np.zeros((0, 2), np.float32), np.zeros(0, int), [_step(1, 0)], 0.5)
    assert found.places.shape == (2, 0, 2) and found.seen.shape == (2, 0)
    found = follow(np.ones((3, 2), np.float32), np.zeros(3, int), [], 0.5)
    assert found.seen.shape == (1, 3) and found.seen.all()


def test_points_and_beginnings_of_other_numbers_are_refused():
    with pytest.raises(ValueError, match="2 beginnings of 1 points"):
        follow(np.ones((1, 2), np.float32), np.zeros(2, int), [], 0.5)
