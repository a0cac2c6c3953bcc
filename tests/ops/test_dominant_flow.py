"""The dominant motion against NumPy, in closed form, and where it must not break."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.ops import dominant_flow
from egojax.ops.dominant_flow import SCALES, dominant_residual


def _scene(seed: int, count: int = 120, frames: int = 7) -> np.ndarray:
    """Points that follow a quadratic polynomial of their place, another each frame."""
    rng = np.random.default_rng(seed)
    start = rng.uniform((0, 0), (400, 240), (count, 2))
    x, y = (start - 150).T / 150
    basis = np.stack([np.ones(count), x, y, x * x, x * y, y * y], -1)
    theta = rng.normal(0, 3, (frames, 6, 2))
    theta[frames // 2] = 0
    return (start[None] + np.einsum("ni,tic->tnc", basis, theta)).astype(np.float32)


def _by_numpy(tracks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The definition: least squares with weights, in float64, scale after scale."""
    tracks = tracks.astype(np.float64)
    start = tracks[len(tracks) // 2]
    x, y = (start - start.mean(0)).T / 100
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    share, residual = np.ones(len(start)), np.zeros_like(tracks)
    for scale in SCALES:
        root = np.sqrt(weights * share)[:, None]
        for t, places in enumerate(tracks):
            theta = np.linalg.lstsq(basis * root, (places - start) * root, rcond=None)[
                0
            ]
            residual[t] = places - start - basis @ theta
        share = 1 / (1 + (residual**2).sum(-1).mean(0) / scale**2) ** 2
    return residual


@pytest.mark.parametrize("seed", range(3))
def test_residuals_are_those_of_weighted_least_squares(seed):
    rng = np.random.default_rng(seed)
    tracks = _scene(seed) + rng.normal(0, 0.4, (7, 120, 2)).astype(np.float32)
    tracks[:, :25] += np.linspace(-6, 6, 7, dtype=np.float32)[:, None, None]
    weights = rng.uniform(0.2, 1, 120).astype(np.float32)
    found = dominant_residual(tracks, weights)
    np.testing.assert_allclose(found, _by_numpy(tracks, weights), atol=2e-2)


def test_what_moves_by_itself_is_left_and_the_rest_is_not():
    tracks = _scene(5)
    tracks[:, :30] += np.linspace(-9, 9, 7, dtype=np.float32)[:, None, None]
    error = np.sqrt((np.asarray(dominant_residual(tracks, np.ones(120))) ** 2).sum(-1))
    assert error[:, 30:].max() < 0.1
    np.testing.assert_allclose(error[0, :30], 9 * 2**0.5, rtol=0.02)
    np.testing.assert_allclose(error[3], 0, atol=1e-3)


def test_points_without_weight_change_nothing():
    tracks = _scene(1) + np.random.default_rng(0).normal(0, 1, (7, 120, 2))
    padded = np.concatenate([tracks, np.zeros((7, 9, 2))], 1).astype(np.float32)
    weights = np.r_[np.ones(120), np.zeros(9)].astype(np.float32)
    found = dominant_residual(padded, weights)[:, :120]
    alone = dominant_residual(tracks.astype(np.float32), np.ones(120, np.float32))
    np.testing.assert_allclose(found, alone, atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_points_give_finite_residuals(count):
    tracks = _scene(2)[:, :count]
    found = dominant_residual(tracks, np.ones(count, np.float32))
    assert found.shape == (7, count, 2)
    chex.assert_tree_all_finite(found)


def test_points_in_one_place_give_finite_residuals():
    tracks = np.ones((5, 40, 2), np.float32)
    chex.assert_tree_all_finite(dominant_residual(tracks, np.ones(40, np.float32)))


def test_windows_map_over_a_batch():
    both = np.stack([_scene(0), _scene(1)])
    mapped = jax.vmap(dominant_residual, (0, None))(both, jnp.ones(120))
    for one, tracks in zip(mapped, both, strict=True):
        np.testing.assert_allclose(
            one, dominant_residual(tracks, np.ones(120)), atol=1e-3
        )


def test_tracks_and_weights_of_other_numbers_are_refused():
    with pytest.raises(Exception, match="N"):
        dominant_flow.dominant_residual(np.ones((3, 4, 2), np.float32), np.ones(5))


def test_it_lowers_for_all_devices():
    args = jnp.zeros((5, 64, 2)), jnp.ones(64)
    exported = jax.export.export(dominant_residual, platforms=("cpu", "cuda", "tpu"))
    assert exported(*args).platforms == ("cpu", "cuda", "tpu")
