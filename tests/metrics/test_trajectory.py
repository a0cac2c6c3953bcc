"""Camera paths: similarities are found, errors are those that were put in."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from egojax import metrics


def random_path(seed, frames=40):
    rng = np.random.default_rng(seed)
    path = np.tile(np.eye(4), (frames, 1, 1))
    turns = np.cumsum(rng.normal(0, 0.1, (frames, 3)), axis=0)
    path[:, :3, :3] = Rotation.from_rotvec(turns).as_matrix()
    path[:, :3, 3] = np.cumsum(rng.normal(0, 0.1, (frames, 3)), axis=0)
    return path


@pytest.mark.parametrize("seed", range(4))
def test_a_similarity_is_found_and_leaves_no_error(seed):
    truth = random_path(seed)
    turn = Rotation.from_rotvec([0.3, -2, 1]).as_matrix()
    pred = truth.copy()
    pred[:, :3, 3] = 0.25 * truth[:, :3, 3] @ turn.T + [1, 2, 3]
    pred[:, :3, :3] = turn @ truth[:, :3, :3]
    errors = metrics.trajectory_errors(pred, truth)
    assert errors["scale"] == pytest.approx(4.0)
    assert max(errors["ATE"], errors["RPE_translation"]) < 1e-12
    assert errors["RPE_rotation"] < 1e-6


def test_noise_gives_the_error_of_its_size():
    truth = random_path(0, 4000)
    pred = truth.copy()
    pred[:, :3, 3] += np.random.default_rng(1).normal(0, 0.01, (4000, 3))
    errors = metrics.trajectory_errors(pred, truth)
    assert errors["ATE"] == pytest.approx(0.01 * np.sqrt(3), rel=0.05)
    assert errors["RPE_translation"] == pytest.approx(0.01 * np.sqrt(6), rel=0.05)


def test_a_turn_of_every_second_frame_is_the_rotation_error():
    truth = random_path(2)
    pred = truth.copy()
    pred[::2, :3, :3] = (
        pred[::2, :3, :3] @ Rotation.from_euler("y", 2, True).as_matrix()
    )
    errors = metrics.trajectory_errors(pred, truth)
    assert errors["RPE_rotation"] == pytest.approx(2.0, abs=1e-6)


def test_a_mirrored_path_is_not_aligned_by_a_reflection():
    points = random_path(3)[:, :3, 3]
    fit = metrics.align_similarity(points, points * [1, 1, -1])
    assert np.linalg.det(fit.rotation) == pytest.approx(1.0)


def test_paths_that_cannot_be_aligned_are_errors():
    with pytest.raises(ValueError, match="expected two of"):
        metrics.align_similarity(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="one place"):
        metrics.align_similarity(np.ones((5, 3)), np.zeros((5, 3)))
