"""Head paths: followers, poses, and real paths fitted to the room."""

import json

import numpy as np
import pytest

from egojax.data.world import benchmark, head, state
from egojax.errors import UsageError
from egojax.ops.camera import camera_centers


def random_path(seed: int, count: int = 80) -> np.ndarray:
    """A level head that turns about and walks, in room axes."""
    rng = np.random.default_rng(seed)
    eye = head.follow(rng.normal([0, 0, 1.5], [0.6, 0.6, 0.1], (count, 3)), 30.0, 0.5)
    target = eye + head.follow(rng.normal([0, 2, -1], 1.0, (count, 3)), 30.0, 0.4)
    return head.look_at(eye, target, np.zeros((count, 3)))


def test_a_follower_reaches_its_target_without_overshoot():
    target = np.concatenate([np.zeros((5, 1)), np.ones((95, 1))])
    out = head.follow(target, 30.0, 0.3)
    assert out[4, 0] == 0.0 and out[-1, 0] == pytest.approx(1.0, abs=1e-6)
    assert (np.diff(out[:, 0]) >= -1e-12).all() and out.max() <= 1.0 + 1e-9


def test_a_camera_that_looks_at_a_point_sees_it_in_the_middle():
    eye, target = np.array([[0.2, -0.4, 1.5]]), np.array([[1.0, 0.7, 0.9]])
    w2c = head.look_at(eye, target, np.zeros((1, 3)))
    seen = w2c[0, :3, :3] @ target[0] + w2c[0, :3, 3]
    np.testing.assert_allclose(seen[:2], 0.0, atol=1e-12)
    assert seen[2] == pytest.approx(np.linalg.norm(target - eye))
    assert w2c[0, 0, 2] == pytest.approx(0.0, abs=1e-12)  # No roll: x stays level.
    assert w2c[0, 1, 2] < 0.0  # The picture's y points down.
    np.testing.assert_allclose(camera_centers(w2c), eye, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_fitting_undoes_any_similarity_of_a_path(seed):
    rng = np.random.default_rng(100 + seed)
    path = random_path(seed)
    base, half = head.fit_path_to_room(path)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    scale, shift = rng.uniform(0.1, 20.0), rng.normal(size=3)
    eyes = scale * camera_centers(path) @ turn.T + shift
    rot = path[:, :3, :3] @ turn.T
    moved = head.rigid(rot, -np.einsum("tij,tj->ti", rot, eyes))
    again, half_again = head.fit_path_to_room(moved)
    np.testing.assert_allclose(again, base, atol=1e-6)
    np.testing.assert_allclose(half_again, half, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_fitted_path_is_upright_and_above_the_free_floor(seed):
    fitted, half = head.fit_path_to_room(random_path(seed))
    eye = camera_centers(fitted)
    assert (np.abs(eye[:, :2]) <= half).all()
    assert eye[:, 2].min() > 1.0 - 1e-9 and np.median(eye[:, 2]) == pytest.approx(1.56)
    assert np.abs(fitted[:, 0, 2]).mean() < 0.05  # x level
    assert fitted[:, 1, 2].mean() < 0.0  # y down


@pytest.mark.parametrize("bad", ["shape", "nan", "scale", "empty"])
def test_what_is_no_path_is_told_in_one_line(bad):
    path = random_path(0)
    if bad == "shape":
        path = path[:, :3]
    elif bad == "nan":
        path[3, 0, 3] = np.nan
    elif bad == "scale":
        path[:, :3, :3] *= 2.0
    else:
        path = path[:0]
    with pytest.raises(UsageError) as err:
        head.fit_path_to_room(path)
    assert "camera path" in str(err.value) and "\n" not in str(err.value)


def test_a_real_head_path_drives_a_world(real_data):
    meta = json.loads((real_data / "epic_P01_01" / "meta.json").read_text())
    c2w = np.array([meta["poses"][str(k)] for k in meta["ids_all"]])[::4]
    rot = c2w[:, :, :3] @ np.diag([1.0, -1.0, -1.0])  # OpenGL to OpenCV axes.
    w2c = head.rigid(rot.swapaxes(1, 2), -np.einsum("tji,tj->ti", rot, c2w[:, :, 3]))
    world = state.make_world(0, len(w2c), camera_path=w2c, num_objects=24)
    seen = benchmark.world_sightings(world)
    assert seen.any(0).all() and seen.sum(1).mean() > 2.5
    assert len(benchmark.find_absences(seen)) > 50
    assert ((world.motion == 2) & seen).any(0).sum() >= 2
