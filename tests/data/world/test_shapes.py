"""Meshes are closed where they should be, face outwards and carry sound normals."""

import numpy as np
import pytest

from egojax.data.world import body, objects, shapes, textures
from egojax.data.world.shapes import Material

CLAY = Material("plain")


def volume(shape: shapes.Shape) -> float:
    a, b, c = np.moveaxis(shape.vertices[shape.faces].astype(float), 1, 0)
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6.0)


def test_volumes_are_those_of_the_formulas():
    box = shapes.box((0, 0, 0), (1, 2, 3), CLAY)
    assert volume(box) == pytest.approx(6.0, rel=1e-6)
    cone = shapes.lathe([(1.0, 0.0), (0.0, 1.0)], CLAY, 200)
    assert volume(cone) == pytest.approx(np.pi / 3, rel=1e-3)
    ball = shapes.capsule((0, 0, 0), (0, 0, 1e-3), (1.0, 1.0), CLAY, 60)
    assert 0.85 < volume(ball) / (4 / 3 * np.pi) < 1.01
    slab = shapes.extrude(shapes.rounded(2.0, 1.0, 0.2, 30), 0.5, CLAY)
    assert volume(slab) == pytest.approx(0.5 * (2.0 - (4 - np.pi) * 0.04), rel=1e-3)


@pytest.mark.parametrize("category", objects.CATEGORIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_things_stand_on_the_ground_and_look_outwards(category, seed):
    model = objects.build(category, np.random.default_rng(seed))
    shape = model.shape
    low, high = shape.extent
    assert 0.0 <= low[2] < 0.004 and high[2] < 0.35
    np.testing.assert_allclose((low + high)[:2], 0.0, atol=1e-6)
    assert volume(shape) > 0.0 and 50 < len(shape.faces) < 1000
    a, b, c = np.moveaxis(shape.vertices[shape.faces], 1, 0)
    outward = np.cross(b - a, c - a)
    assert (np.einsum("fi,fki->fk", outward, shape.normals) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(shape.normals, axis=-1), 1.0, atol=1e-5)
    assert shape.material.max() < len(shape.materials)


def test_the_same_generator_gives_the_same_thing_and_another_one_not():
    first, second, other = (
        objects.build("mug", np.random.default_rng(s)).shape for s in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.vertices, second.vertices)
    assert not np.array_equal(first.vertices, other.vertices)


@pytest.mark.parametrize("kind", textures.PATTERNS)
def test_textures_repeat_without_a_seam_in_range_and_are_not_flat(kind):
    material = Material(kind, (0.5, 0.3, 0.2), (0.1, 0.2, 0.4))
    tile = textures.bake([material], 3)[0]
    np.testing.assert_array_equal(tile, textures.bake([material], 3)[0])
    assert tile.min() >= 0.0 and tile.max() <= 1.0 and tile.std((0, 1)).max() > 0.005


def test_the_arm_keeps_its_bones_together_and_reaches_its_target():
    rng = np.random.default_rng(0)
    count = 50
    shoulder = rng.normal([0, 0, 1.3], 0.1, (count, 3))
    wrist = rng.normal([0.4, 0, 1.0], 0.25, (count, 3))
    wrist[0] = shoulder[0] + [3.0, 0, 0]  # Far out of reach: the shoulder follows.
    forward = np.tile([0.7, 0.1, -0.7], (count, 1))
    poses = body.pose_arm(
        shoulder, wrist, forward, np.array([0.0, 0.2, 1.0]), np.linspace(0, 1, count)
    )
    assert poses.shape == (count, body.NUM_LINKS, 4, 4)
    rot = poses[..., :3, :3]
    np.testing.assert_allclose(
        rot @ rot.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rot.shape), atol=1e-9
    )
    np.testing.assert_allclose(poses[:, 2, :3, 3], wrist, atol=1e-9)
    elbow = poses[:, 0, :3, 3] + body.UPPER * poses[:, 0, :3, 0]
    np.testing.assert_allclose(elbow, poses[:, 1, :3, 3], atol=0.02)
    for finger in range(5):
        bones = poses[:, 3 + 3 * finger : 6 + 3 * finger]
        for k in range(2):
            tip = bones[:, k, :3, 3] + body.FINGERS[finger][2][k] * bones[:, k, :3, 0]
            np.testing.assert_allclose(tip, bones[:, k + 1, :3, 3], atol=1e-9)
