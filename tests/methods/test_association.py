"""Running a whole video: how often it compiles, and what a huge alpha means."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from egojax.methods import association, tracker
from egojax.methods.association import Columns
from egojax.methods.tracker import TrackerConfig
from egojax.ops.association import CostWeights


def crowd(at: np.ndarray) -> Columns:
    """Everyone in every frame under a 2D id that is new each time; `at` (T, N, 3)."""
    num_frames, num_objects, _ = at.shape
    rows = num_frames * num_objects
    return Columns(
        frame_idx=np.repeat(np.arange(num_frames, dtype=np.int32), num_objects),
        segment_id=np.arange(rows, dtype=np.int64),
        category=np.zeros(rows, np.int32),
        location=at.reshape(-1, 3).astype(np.float32),
        feature=np.zeros((rows, 2), np.float32),
        num_frames=num_frames,
    )


def test_a_video_compiles_once_for_each_size_of_the_table():
    """Three blocks, tables of 64 and 256: two programs, none of them twice."""
    rng = np.random.default_rng(0)
    columns = crowd(rng.uniform(-50, 50, (600, 2, 3)))
    columns.segment_id[200:] = 10_000 + columns.segment_id[200:] % 2
    weights = CostWeights(alpha=9.0)  # Only the same 2D id is ever near enough.
    config = TrackerConfig(solver="exact", num_iters=7)  # Compiled by no other test.
    weights = weights.replace(location_weight=0.0)
    before = tracker.track_frames._cache_size()
    first = association.track_online(columns, weights, config)
    assert first.track_id.max() == 202
    assert tracker.track_frames._cache_size() - before == 2
    again = association.track_online(columns, weights, config)
    assert tracker.track_frames._cache_size() - before == 2
    np.testing.assert_array_equal(again.track_id, first.track_id)


def test_with_a_huge_alpha_it_is_the_plain_assignment():
    """As many observations as tracks and no birth: the cheapest permutation."""
    rng = np.random.default_rng(3)
    at = rng.uniform(-1, 1, (12, 5, 3))
    columns = crowd(at)
    weights = CostWeights(alpha=1e5, beta_l=1.0, beta_s=0.0)
    config = TrackerConfig(solver="exact", num_iters=7)
    found = association.track_online(columns, weights, config)
    expected, place = [np.arange(5)], at[0].copy()
    for here in at[1:]:
        cost = ((place[:, None] - here[None]) ** 2).sum(-1)
        rows, cols = linear_sum_assignment(cost)
        expected.append(rows[np.argsort(cols)])
        place[rows] = here[cols]
    np.testing.assert_array_equal(found.track_id - 1, np.concatenate(expected))
