"""Things that glide: each by itself, never touching, in view, the same for a seed."""

import numpy as np
import pytest

from egojax.data.world import benchmark, gliding
from egojax.errors import UsageError
from egojax.ops.camera import camera_centers


@pytest.fixture(scope="module")
def worlds():
    return [gliding.gliding_world(seed) for seed in range(6)]


def test_one_to_four_things_move_by_themselves(worlds):
    counts = [world.num_objects for world in worlds]
    assert set(counts) <= {1, 2, 3, 4} and len(set(counts)) > 1
    for world in worlds:
        poses = world.body_poses[:, 1 : world.num_objects + 1]
        assert (np.ptp(poses[:, :, :3, 3], axis=0).max(-1) > 0.1).all()  # Metres.
        relative = np.linalg.inv(poses[:, :1]) @ poses
        assert (np.ptp(relative[:, 1:], axis=0).max((-1, -2)) > 0.1).all()
        rest = np.ones(world.body_poses.shape[1], bool)
        rest[1 : world.num_objects + 1] = False
        np.testing.assert_array_equal(world.static_bodies, rest)
        assert (world.motion == 2).all()


def test_the_head_moves_and_sees_them(worlds):
    for world in worlds:
        assert np.ptp(camera_centers(world.w2c), axis=0).max() > 0.05
        assert benchmark.world_sightings(world).mean(0).min() >= gliding.SEEN


def test_things_stay_above_the_table_and_apart(worlds):
    for world in worlds:
        centers = world.body_poses[:, 1 : world.num_objects + 1, :3, 3]
        assert centers[..., 2].min() > 0.76
        gaps = np.linalg.norm(centers[:, :, None] - centers[:, None], axis=-1)
        gaps[:, *np.diag_indices(world.num_objects)] = np.inf
        assert gaps.min() > 0.05


def test_rotations_are_rotations(worlds):
    for world in worlds:
        turn = world.body_poses[:, 1 : world.num_objects + 1, :3, :3]
        square = turn @ np.swapaxes(turn, -1, -2)
        np.testing.assert_allclose(
            square, np.broadcast_to(np.eye(3), square.shape), atol=1e-12
        )
        np.testing.assert_allclose(np.linalg.det(turn), 1.0)


def test_a_seed_is_a_world():
    first, again = gliding.gliding_world(3), gliding.gliding_world(3)
    np.testing.assert_array_equal(first.body_poses, again.body_poses)
    np.testing.assert_array_equal(first.vertices, again.vertices)


def test_a_clip_has_truth_of_what_moves():
    clip = gliding.gliding_clip(1, size_hw=(24, 44))
    assert clip.num_frames == gliding.LENGTH and clip.size_hw == (24, 44)
    assert clip.truth is not None and clip.truth.labels is not None
    labels = np.stack([clip.truth.labels[t] for t in (0, 40)])
    moving = np.stack([clip.truth.streams["moving"][t] for t in (0, 40)])
    np.testing.assert_array_equal(moving, labels > 0)
    assert (labels > 0).any() and not clip.truth.streams["actor"][0].any()


def test_a_long_clip_moves_to_its_end():
    """Seed 4 of 400 frames: two things, apart and in view all the time."""
    world = gliding.gliding_world(4, 400)
    assert world.num_frames == len(world.w2c) == 400 and world.num_objects == 2
    centers = world.body_poses[:, 1:3, :3, 3]
    for start in range(0, 400, 80):  # Metres, in any part of the clip.
        assert (np.ptp(centers[start : start + 80], axis=0).max(-1) > 0.1).all()
    assert np.linalg.norm(centers[:, 0] - centers[:, 1], axis=-1).min() > 0.05
    assert benchmark.world_sightings(world).mean(0).min() >= gliding.SEEN


def test_paths_that_are_too_long_for_a_crowd_are_told(monkeypatch):
    monkeypatch.setattr(gliding, "MAX_TRIES", 2)
    with pytest.raises(UsageError, match="world 2: no paths of 2 fit, of 2000 frames"):
        gliding.gliding_world(2, 2000)
