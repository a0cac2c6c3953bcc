"""The benchmark's clips hold what they promise, and worlds hold together."""

import numpy as np
import pytest

from egojax.data import world as worlds
from egojax.data.world import benchmark, state


def test_absences_are_gaps_between_sightings():
    seen = np.zeros((40, 3), bool)
    seen[[0, 1, 15, 16, 20], 0] = True  # A gap of 13, one of 3, and the open end.
    seen[5:, 1] = True  # Late, never gone again.
    assert benchmark.find_absences(seen, 10) == [benchmark.Absence(0, 2, 13)]
    assert [a.length for a in benchmark.find_absences(seen, 1)] == [13, 3]
    assert benchmark.find_absences(seen[:0], 1) == []


@pytest.mark.parametrize("seed", [1, 7, 13, 25])
def test_a_benchmark_world_has_its_triples_and_absences(seed):
    world = benchmark.bench_world(seed)
    found = benchmark.find_absences(benchmark.world_sightings(world))
    assert world.num_frames == 600 and world.num_objects == 24
    assert 27 <= len(found) <= 42
    assert 250 <= max(a.length for a in found) <= 360
    triples = world.categories.reshape(8, 3)
    assert (triples == triples[:, :1]).all()
    at = world.body_poses[0, 1:25, :3, 3].reshape(8, 3, 3)
    gap = np.linalg.norm(at - np.roll(at, 1, axis=1), axis=-1).max(1)
    assert (gap < 0.4).sum() >= 4
    moving, seen = world.motion == 2, benchmark.world_sightings(world)
    assert (moving & seen).any(0).sum() >= 3  # Handled before the wearer's eyes.
    assert (moving & ~seen).any()  # Moved behind his back.


def seen_in_truth(truth) -> np.ndarray:
    """bool (T, K): the objects that the true labels show."""
    objects = np.arange(1, len(truth.mask_ids) + 1)
    return np.stack([np.isin(objects, labels) for labels in truth.labels])


def test_sightings_by_boxes_agree_with_the_rendered_labels():
    world = benchmark.bench_world(1)
    clip = worlds.make_clip(world, size_hw=(64, 114))
    frames = np.arange(0, 600, 20)
    seen = seen_in_truth(clip.truth.select(list(frames)))
    boxes = benchmark.world_sightings(world)[frames]
    assert (seen == boxes).mean() > 0.93
    assert not (seen & ~boxes & world.shut_in[frames]).any()


def test_a_shut_drawer_hides_its_content():
    found = (state.make_world(seed, 450) for seed in range(20))
    world = next(w for w in found if w.shut_in.any())
    clip = worlds.make_clip(world, size_hw=(64, 114))
    t, obj = np.argwhere(world.shut_in)[5]
    assert not (clip.truth.labels[int(t)] == obj + 1).any()


@pytest.mark.parametrize("seed", [0, 25, 40, 50])
def test_objects_rest_on_surfaces_and_keep_apart(seed):
    """At rest nothing floats, sinks in or stands in another thing's place."""
    world = state.make_world(seed, 300, num_objects=24)
    poses = world.body_poses[:, 1:25]
    levels = np.array([0.9, 0.76, 0.85, 1.37, 0.715])
    for t in (0, 150, 299):
        rest = world.motion[t] != 2
        bottom = poses[t, :, 2, 3] + world.extents[:, 0, 2]
        off = np.abs(bottom[:, None] - levels).min(1)
        assert off[rest].max() < 0.005
        radius = [
            np.linalg.norm(world.vertices[world.vertex_body == k][:, :2], axis=1).max()
            for k in range(1, 25)
        ]
        for i in np.flatnonzero(rest):
            for j in np.flatnonzero(rest[:i]):
                if abs(bottom[i] - bottom[j]) > 0.1:
                    continue
                gap = np.linalg.norm(poses[t, i, :2, 3] - poses[t, j, :2, 3])
                assert gap > radius[i] + radius[j]


@pytest.mark.parametrize("seed", [0, 25, 40, 50])
def test_the_camera_stays_in_free_air(seed):
    """Nothing but the wearer's own arm comes near to the eye."""
    world = state.make_world(seed, 200)
    eye = -np.einsum("tji,tj->ti", world.w2c[:, :3, :3], world.w2c[:, :3, 3])
    mine = world.vertex_body > world.num_objects + 1
    for t in range(0, 200, 20):
        pose = world.body_poses[t][world.vertex_body[~mine]]
        at = (
            np.einsum("vij,vj->vi", pose[:, :3, :3], world.vertices[~mine])
            + pose[:, :3, 3]
        )
        assert np.linalg.norm(at - eye[t], axis=1).min() > 0.2
        assert 1.2 < eye[t, 2] < 1.8


def test_objects_are_seen_often_and_large():
    shares, areas = [], []
    for seed in (0, 1, 2):
        world = state.make_world(seed, 600, num_objects=18)
        clip = worlds.make_clip(world, size_hw=(64, 114))
        seen = seen_in_truth(clip.truth.select(range(0, 600, 30)))
        shares.append(seen.any(0).mean())
        scale = (256 * 456) / (64 * 114)
        for labels in clip.truth.labels.select(range(0, 600, 60)):
            area = np.bincount(labels.reshape(-1), minlength=19)[1:] * scale
            areas.append((area > 500).sum())
    assert np.mean(shares) > 0.9
    assert 3.5 < np.mean(areas) < 9.5
