"""Errors of poses: rotations about an axis, smooth where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.spatial.transform import Rotation

from egojax.models.poses import PoseErrors


def errors_of(shift: np.ndarray, turn: np.ndarray) -> PoseErrors:
    errors = PoseErrors(len(shift))
    errors.shift[...], errors.turn[...] = jnp.float32(shift), jnp.float32(turn)
    return errors


def test_fresh_errors_move_nothing_and_can_be_learned():
    errors = PoseErrors(3)
    shift, turn = errors.moves(jnp.array([2, 0]))
    assert not shift.any() and np.array_equal(turn, np.tile(np.eye(3), (2, 1, 1)))
    assert float(errors.size(jnp.arange(3))) == 0.0

    def entry(errors: PoseErrors) -> jax.Array:
        return errors.moves(jnp.array([2]))[1][0, 1, 0]

    slope = nnx.grad(entry)(errors).turn[...]
    expected = np.zeros((3, 3))
    expected[2, 2] = 1.0  # About z, x turns to y.
    np.testing.assert_allclose(slope, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_small_turns_are_rotations_by_their_vector(seed):
    rng = np.random.default_rng(seed)
    turn = 0.02 * rng.normal(size=(4, 3))
    shift = rng.normal(size=(4, 3))
    slots = rng.integers(0, 4, 6)
    moved, found = errors_of(shift, turn).moves(jnp.array(slots))
    np.testing.assert_allclose(moved, shift[slots], rtol=1e-6)
    expected = Rotation.from_rotvec(turn[slots]).as_matrix()
    third_order = np.linalg.norm(turn, axis=-1).max() ** 3 / 12
    np.testing.assert_allclose(found, expected, atol=third_order + 1e-6)


def test_any_turn_is_a_rotation():
    turn = np.random.default_rng(0).normal(scale=5.0, size=(20, 3))
    found = errors_of(np.zeros((20, 3)), turn).moves(jnp.arange(20))[1]
    square = np.einsum("nij,nkj->nik", found, found)
    np.testing.assert_allclose(square, np.tile(np.eye(3), (20, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(found), 1.0, atol=1e-5)


def test_the_size_counts_shifts_and_turns():
    shift, turn = np.zeros((2, 3)), np.zeros((2, 3))
    shift[0, 0], turn[1, 2] = 2.0, 3.0
    errors = errors_of(shift, turn)
    assert float(errors.size(jnp.arange(2))) == pytest.approx(4 / 6 + 9 / 6)
    assert float(errors.size(jnp.array([0, 0, 1]))) == pytest.approx(8 / 9 + 9 / 9)
