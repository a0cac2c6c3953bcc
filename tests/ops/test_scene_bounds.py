import numpy as np
import pytest

from egojax.ops import scene_bounds
from egojax.ops.scene_bounds import Bounds

POINTS = [(0, 0, 1), (1, 0, 2), (0, 1, 3), (-1, 0, 4), (0, -1, 5), (0, 0, -6)]


def poses(num, seed=0):
    """Random rigid w2c."""
    from scipy.spatial.transform import Rotation

    out = np.tile(np.eye(4), (num, 1, 1))
    out[:, :3, :3] = Rotation.random(num, random_state=seed).as_matrix()
    out[:, :3, 3] = np.random.default_rng(seed).normal(size=(num, 3))
    return out


def test_bounds_of_six_points_are_those_of_the_published_converter():
    """Frame 300 of the oracle: depths 1 to 5, so 1.004 and 4.996."""
    near, far = scene_bounds.near_far(np.array(POINTS), np.eye(4)[None])
    np.testing.assert_allclose([near[0], far[0]], [1.004, 4.996], rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_are_the_quantiles_of_depths_sorted_by_hand(seed):
    points = np.random.default_rng(seed).normal(size=(57, 3))
    w2c = poses(5, seed)
    near, far = scene_bounds.near_far(points, w2c)
    for t, pose in enumerate(w2c):
        z = sorted(pose[2, :3] @ p + pose[2, 3] for p in points)
        z = [v for v in z if v > 0]
        at = 0.001 * (len(z) - 1)
        np.testing.assert_allclose(near[t], z[0] + at * (z[1] - z[0]))
        np.testing.assert_allclose(far[t], z[-1] - at * (z[-1] - z[-2]))


def test_the_bounds_do_not_know_the_world_axes():
    points = np.random.default_rng(1).normal(size=(40, 3))
    w2c, (moved,) = poses(3, 1), poses(1, 2)
    there = points @ moved[:3, :3].T + moved[:3, 3]
    first = scene_bounds.near_far(points, w2c)
    second = scene_bounds.near_far(there, w2c @ np.linalg.inv(moved))
    np.testing.assert_allclose(np.array(first), np.array(second), rtol=1e-9)


def test_a_frame_without_points_in_front_has_no_bounds():
    away = np.diag([1.0, -1, -1, 1])
    behind = np.array([[0.0, 0, 2], [np.nan, 0, 1], [0, 0, np.inf]])
    found = scene_bounds.near_far(behind, np.stack([np.eye(4), away]))
    np.testing.assert_array_equal(found.near, [2, np.nan])
    np.testing.assert_array_equal(scene_bounds.is_range(found), [False, False])
    far = Bounds(np.ones(3), np.array([2.0, 1e30, np.inf]))
    np.testing.assert_array_equal(scene_bounds.is_range(far), [True, False, False])
    empty = scene_bounds.near_far(np.zeros((0, 3)), np.eye(4)[None])
    assert np.isnan(empty.far).all()


def test_near_gets_a_floor_where_far_allows():
    bounds = Bounds(np.array([1e-7, 1, 2, 3, np.nan]), np.array([9, 9, 9, 9, np.nan]))
    found = scene_bounds.floor_near(bounds, 0.5)
    np.testing.assert_allclose(found.near, [1.5, 1.5, 2, 3, np.nan], rtol=1e-7)
    low = Bounds(np.array([0.1, 4, 4]), np.array([0.2, 8, 8]))
    assert scene_bounds.floor_near(low, 0.5).near.tolist() == [0.1, 4, 4]
    assert scene_bounds.floor_near(low, 0.0).near.tolist() == [0.1, 4, 4]
    none = Bounds(np.full(2, np.nan), np.full(2, np.nan))
    assert np.isnan(scene_bounds.floor_near(none, 0.5).near).all()


def test_of_forty_frames_every_sixteenth_is_for_tests():
    found = np.array(scene_bounds.split_frames(40, 8))
    assert np.flatnonzero(found == "test").tolist() == [0, 16, 32]
    assert np.flatnonzero(found == "val").tolist() == [8, 24]
    assert (found == "train").sum() == 35


def test_a_split_of_none_one_and_all_frames():
    assert scene_bounds.split_frames(0, 8) == ()
    assert scene_bounds.split_frames(1, 8) == ("test",)
    assert scene_bounds.split_frames(3, 0) == ("train",) * 3
    assert scene_bounds.split_frames(4, 1) == ("test", "val") * 2
    with pytest.raises(ValueError, match="every=-1"):
        scene_bounds.split_frames(4, -1)


def test_slots_are_even_in_time_ranks_or_the_ids():
    ids = [10, 30, 20, 110]
    assert scene_bounds.slots(ids).tolist() == [0, 2, 1, 10]
    assert scene_bounds.slots(ids, 101).tolist() == [0, 20, 10, 100]
    assert scene_bounds.slots(ids, kind="rank").tolist() == [0, 2, 1, 3]
    assert scene_bounds.slots(ids, 1000, kind="id").tolist() == ids
    assert scene_bounds.slots([7]).tolist() == [0]
    assert scene_bounds.slots([]).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_linear_slots_keep_order_and_stay_in_range(seed):
    rng = np.random.default_rng(seed)
    ids = rng.choice(10**18, 50, replace=False).tolist()
    for num in (None, 1, 7, 5000):
        found = scene_bounds.slots(ids, num)
        assert (np.diff(found[np.argsort(ids)]) >= 0).all()
        assert 0 <= found.min() <= found.max() < (num or 200)
    even = (1000 + 37 * rng.permutation(50)).tolist()
    assert sorted(scene_bounds.slots(even)) == list(range(50))


@pytest.mark.parametrize(
    ("ids", "num", "kind", "what"),
    [
        ([1, 1], None, "linear", "twice"),
        ([1, 2], 2, "id", "slots 1 to 2 by id; there are 2"),
        ([-1, 2], None, "id", "slots -1 to 2"),
        ([4, 5, 6], 2, "rank", "slots 0 to 2 by rank; there are 2"),
        ([4, 5, 6], 0, "linear", "0 slots"),
    ],
)
def test_slots_out_of_range_are_refused(ids, num, kind, what):
    with pytest.raises(ValueError, match=what):
        scene_bounds.slots(ids, num, kind)


def test_held_out_frames_take_the_code_of_the_nearest_trained_one():
    train = np.array([10, 0, 2, 3, 20])
    found = scene_bounds.nearest_training(train, np.array([1, 6, 7, 25]))
    assert found.tolist() == [0, 3, 10, 20]
    found = scene_bounds.nearest_training(np.array([5, 9]), np.array([2, 7]))
    assert found.tolist() == [5, 5]
    with pytest.raises(ValueError, match="no slot was trained"):
        scene_bounds.nearest_training(np.zeros(0), np.array([1]))


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_is_the_one_that_a_search_over_all_finds(seed):
    rng = np.random.default_rng(seed)
    train = rng.choice(100, 12, replace=False)
    query = np.arange(-5, 110)
    expected = [min((abs(q - s), s) for s in train)[1] for q in query]
    assert scene_bounds.nearest_training(train, query).tolist() == expected
