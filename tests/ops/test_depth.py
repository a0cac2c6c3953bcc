"""Alignment against linear programming, brute force and the published numbers."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax import export

from egojax.ops import depth

INF = np.inf


def used_pixels(d, m, exclude=None):
    """The published mask, by NumPy in float64."""
    d, m = np.float64(d), np.float64(m)
    keep = np.isfinite(m) & (np.abs(d - d.mean()) < 3 * d.std())
    return keep if exclude is None else keep & ~exclude


def objective(d, m, keep, scale, shift):
    return np.abs(scale * np.float64(d[keep]) + shift - np.float64(m[keep])).sum()


def dual_optimum(d, m, keep):
    """The least sum, from the dual linear program: max y . m, |y| <= 1, y ⟂ (d, 1)."""
    d, m = np.float64(d[keep]), np.float64(m[keep])
    rows = np.stack([d, np.ones_like(d)])
    found = scipy.optimize.linprog(
        -m, A_eq=rows, b_eq=[0, 0], bounds=(-1, 1), method="highs"
    )
    assert found.status == 0
    return -found.fun


def waves(size_hw=(256, 456), moving=0.0, seed=0):
    """Oracle T6 (d), at any size, with a share of pixels that moved nearer."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float64)
    d = 0.5 + 0.5 * np.sin(x / 40) * np.cos(y / 30) + 1.5
    m = 1.7 * d + 0.4 + 0.02 * np.sin(1.3 * x + 0.7 * y)
    m[:40] = INF
    m[100:150, 100:200] -= 0.6
    rng = np.random.default_rng(seed)
    m -= rng.uniform(0.2, 1.2, m.shape) * (rng.random(m.shape) < moving)
    return d.astype(np.float32), m.astype(np.float32)


def test_a_line_with_an_outlier_and_a_hole():
    """Oracle T6 (a)."""
    d = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    m = 2 * d + 1
    m[0, 1], m[1, 3] = 50, INF
    found = depth.align(d, m)
    np.testing.assert_allclose([found.scale, found.shift], [2, 1], atol=1e-6)
    assert found.num_pixels == 7


def test_a_value_beyond_three_sigma_takes_no_part():
    """Oracle T6 (b)."""
    d = np.append(np.arange(1, 16) * 0.1, 100).reshape(4, 4).astype(np.float32)
    m = -0.5 * d + 3
    m[0, 0], m[3, 3] = 9, 1000
    found = depth.align(d, m)
    np.testing.assert_allclose([found.scale, found.shift], [-0.5, 3], atol=1e-6)
    assert found.num_pixels == 15


def test_the_optimum_passes_through_two_points():
    """Oracle T6 (c), and brute force over all pairs."""
    i = np.arange(24.0).reshape(4, 6)
    d = np.sin(i) + 2
    m = 1.5 * d - 0.25 + 0.3 * np.cos(3 * i)
    m[2, 3] = INF
    m[0, 0] += 5
    m[1, 1] -= 4
    keep = used_pixels(d, m)
    pairs = itertools.combinations(np.flatnonzero(keep), 2)
    lines = [np.polyfit(d.flat[list(p)], m.flat[list(p)], 1) for p in pairs]
    least = min(objective(d, m, keep, *line) for line in lines)
    np.testing.assert_allclose(least, 13.5271588913, rtol=1e-10)
    found = depth.align(np.float32(d), np.float32(m))
    np.testing.assert_allclose(found.scale, 1.4417197265, atol=1e-6)
    np.testing.assert_allclose(found.shift, -0.1957021799, atol=1e-6)
    np.testing.assert_allclose(found.error * 23, least, rtol=1e-6)


def test_a_whole_frame_of_waves_has_the_published_fit():
    """Oracle T6 (d)."""
    d, m = waves()
    found = depth.align(d, m)
    np.testing.assert_allclose(found.scale, 1.69698249, atol=1e-4)
    np.testing.assert_allclose(found.shift, 0.40434063, atol=2e-4)
    np.testing.assert_allclose(found.error, 0.0424922147, rtol=1e-6)
    assert found.num_pixels == 98_496


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("moving", [0.0, 0.2])
def test_the_sum_exceeds_that_of_linear_programming_by_less_than_a_millionth(
    seed, moving
):
    d, m = waves((96, 128), moving, seed)
    exclude = np.random.default_rng(seed).random(d.shape) < 0.1
    keep = used_pixels(d, m, exclude)
    found = depth.align(d, m, exclude)
    total = objective(d, m, keep, float(found.scale), float(found.shift))
    assert total / dual_optimum(d, m, keep) - 1 < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_random_data_of_any_scale_are_fitted(seed):
    rng = np.random.default_rng(seed)
    d = (rng.normal(size=(60, 50)) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)
    m = d * rng.normal() * 100 + rng.standard_t(1.5, size=d.shape) + 1e3
    m = m.astype(np.float32)
    keep = used_pixels(d, m)
    found = depth.align(d, m)
    total = objective(d, m, keep, float(found.scale), float(found.shift))
    assert total / dual_optimum(d, m, keep) - 1 < 1e-5


def test_the_scale_is_inverse_to_the_units_of_the_depth():
    """Oracle T13."""
    d, m = waves((64, 80))
    one, tenth = depth.align(d, m), depth.align(d * 10, m)
    np.testing.assert_allclose(one.scale, tenth.scale * 10, rtol=1e-4)
    np.testing.assert_allclose(one.shift, tenth.shift, atol=5e-4)


def test_symmetric_pairs_of_outliers_change_nothing():
    """Oracle T13."""
    d, m = waves((64, 80))
    line = depth.align(d, m)
    fitted = float(line.scale) * d + float(line.shift)
    away = np.where(np.arange(80)[None, :] % 2 == 0, 3.0, -3.0)
    pairs = np.concatenate([m, fitted + away]).astype(np.float32)
    double = np.concatenate([d, d[:, np.arange(80) // 2 * 2]])
    pairs[64:] = float(line.scale) * double[64:] + float(line.shift) + away
    again = depth.align(double, pairs)
    np.testing.assert_allclose(again.scale, line.scale, atol=2e-3)
    np.testing.assert_allclose(again.shift, line.shift, atol=4e-3)


def test_a_disparity_is_fitted_in_disparity_and_brought_back():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.5, 6, (40, 50)).astype(np.float32)
    disparity = (1 / true - 0.05) / 0.7
    true[:5] = INF
    fit = depth.align(disparity.astype(np.float32), true, space="disparity")
    np.testing.assert_allclose([fit.scale, fit.shift], [0.7, 0.05], atol=1e-5)
    found = depth.apply_alignment(disparity, fit.scale, fit.shift, space="disparity")
    np.testing.assert_allclose(found[5:], true[5:], rtol=1e-4)


def test_the_official_fit_of_a_disparity_has_a_negative_scale():
    true = np.linspace(1, 3, 600).reshape(20, 30).astype(np.float32)
    fit = depth.align(1 / true, true, space="official")
    assert fit.scale < 0
    applied = depth.apply_alignment(1 / true, fit.scale, fit.shift, space="official")
    assert np.abs(np.asarray(applied) - true).mean() < 0.2


def test_values_that_are_not_finite_take_no_part():
    d, m = waves((64, 80))
    clean = depth.align(d, m, np.arange(64)[:, None].repeat(80, 1) < 45)
    d = d.copy()  # The first call may still be reading the other one.
    d[:30], d[30:45] = INF, np.nan
    spoilt = depth.align(d, m)
    assert spoilt.num_pixels <= clean.num_pixels
    np.testing.assert_allclose(spoilt.scale, clean.scale, atol=2e-3)


@pytest.mark.parametrize(
    "case", ["no target", "constant", "one pixel", "all excluded", "nan"]
)
def test_degenerate_frames_are_flagged(case):
    d, m = waves((20, 30))
    m = np.where(np.isfinite(m), m, 2.0).astype(np.float32)
    exclude = np.zeros(d.shape, bool)
    if case == "no target":
        m[:] = INF
    elif case == "constant":
        d[:] = 1.5
    elif case == "one pixel":
        m[1:], m[0, 1:] = INF, INF
    elif case == "all excluded":
        exclude[:] = True
    else:
        d[:] = np.nan
    found = depth.align(d, m, exclude)
    assert np.isnan(found.scale) and np.isnan(found.shift) and np.isnan(found.error)
    applied = depth.apply_alignment(d, found.scale, found.shift)
    assert np.isinf(applied).all()


def test_frames_of_a_batch_are_each_frame():
    frames = [waves((32, 40), 0.2, seed) for seed in range(3)]
    d, m = (np.stack(maps) for maps in zip(*frames, strict=True))
    m[1] = INF
    together = depth.align(d, m)
    assert together.scale.shape == (3,)
    for t in (0, 2):
        alone = depth.align(d[t], m[t])
        np.testing.assert_allclose(together.scale[t], alone.scale, rtol=1e-6)
    assert np.isnan(together.scale[1])


def test_gradients_follow_what_is_known_in_closed_form():
    """m -> m + a m + b d + c adds (a scale + b, a shift + c) to the line."""
    d, m = (jnp.asarray(a) for a in waves((48, 60), 0.2))
    m = jnp.where(jnp.isfinite(m), m, 5.0)
    line = depth.align(d, m)

    def moved(t):
        found = depth.align(d, m + t[0] * m + t[1] * d + t[2])
        return jnp.stack([found.scale, found.shift])

    jacobian = jax.jacobian(moved)(jnp.zeros(3))
    expected = [[line.scale, 1.0, 0.0], [line.shift, 0.0, 1.0]]
    np.testing.assert_allclose(jacobian, expected, atol=2e-2)

    def stretched(t):
        found = depth.align(d * (1 + t), m)
        return jnp.stack([found.scale, found.shift])

    np.testing.assert_allclose(
        jax.jacobian(stretched)(0.0), [-line.scale, 0.0], atol=2e-2
    )


def test_with_few_points_the_gradient_is_that_of_the_two_that_hold_the_line():
    d = jnp.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    m = jnp.array([[0.0, 1.3, 1.9, 3.4, 9.0]])
    found = depth.align(d, m)
    residual = np.abs(found.scale * d + found.shift - m)
    i, j = sorted(np.argsort(residual[0])[:2])
    grad = jax.grad(lambda m: depth.align(d, m).scale)(m)
    expected = np.zeros(5)
    expected[[i, j]] = [-1 / (j - i), 1 / (j - i)]
    np.testing.assert_allclose(grad[0], expected, atol=1e-4)


def test_gradients_are_finite_where_there_is_nothing_to_fit():
    d, m = jnp.ones((4, 5)), jnp.full((4, 5), jnp.inf)

    def loss(d):
        found = depth.align(d, m)
        return jnp.where(jnp.isnan(found.scale), 0.0, found.scale)

    chex.assert_tree_all_finite(jax.grad(loss)(d))


def test_a_disparity_of_nothing_is_infinitely_far():
    """Oracle T6."""
    found = depth.depth_from_disparity(jnp.array([2, 0.5, 1e-7, 0]))
    np.testing.assert_array_equal(found, [0.5, 2, INF, INF])


def test_what_is_not_in_front_of_the_camera_is_not_there():
    d = jnp.array([[1.0, 2.0, INF, 0.1]])
    applied = depth.apply_alignment(d, jnp.float32(1.0), jnp.float32(-1.5))
    np.testing.assert_array_equal(applied, [[INF, 0.5, INF, INF]])
    official = depth.apply_alignment(
        d, jnp.float32(1.0), jnp.float32(-1.5), space="official"
    )
    np.testing.assert_allclose(official, [[-0.5, 0.5, INF, -1.4]], rtol=1e-6)


def test_frames_without_a_fit_take_that_of_the_nearest_frame():
    nan = np.nan
    scale = np.array([nan, 2.0, nan, nan, nan, 5.0, nan])
    shift = np.array([nan, 0.2, nan, nan, nan, 0.5, nan])
    filled = depth.settle(scale, shift)
    np.testing.assert_array_equal(filled[0], [2, 2, 2, 2, 5, 5, 5])
    np.testing.assert_array_equal(filled[1], [0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 0.5])


def test_without_any_fit_depth_is_taken_as_it_is():
    none = depth.settle(np.full(3, np.nan), np.zeros(3), 5)
    np.testing.assert_array_equal(none.scale, np.ones(3))
    np.testing.assert_array_equal(none.shift, np.zeros(3))


def test_smoothing_removes_a_jump_and_keeps_a_constant():
    scale = np.array([1.0, 1.0, 9.0, 1.0, np.nan, 1.0])
    smooth, shift = depth.settle(scale, np.zeros(6), 3)
    np.testing.assert_array_equal(smooth, np.ones(6))
    np.testing.assert_array_equal(shift, np.zeros(6))
    np.testing.assert_array_equal(depth.settle(scale, np.zeros(6))[0][2], 9)


def test_the_metric_scale_is_the_median_of_the_inverse_slopes():
    scale = np.array([0.5, np.nan, 0.4, -3.0, 0.25])
    assert depth.metric_scale(scale) == 2.5
    assert np.isnan(depth.metric_scale(np.array([np.nan])))


def test_an_unknown_space_is_told():
    with pytest.raises(Exception, match="space"):
        depth.align(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), space="x")


def test_alignment_lowers_for_every_device():
    d, m = (jnp.asarray(a)[None] for a in waves((32, 40)))

    def settled(d, m):
        found = depth.align(d, m)
        return depth.apply_alignment(d, found.scale, found.shift)

    for fn in (settled, jax.grad(lambda d, m: depth.align(d, m).scale.sum())):
        export.export(jax.jit(fn), platforms=["cpu", "cuda", "tpu"])(d, m)


def test_outliers_are_those_of_all_finite_depth_not_only_of_what_is_aligned():
    """Three sigma over all of d; a target is known for a narrow part alone."""
    d = jnp.concatenate([jnp.linspace(1.0, 1.1, 50), jnp.linspace(4.0, 6.0, 50)])
    target = jnp.where(d < 1.1, d, jnp.inf).at[60].set(1.0)
    mask = np.asarray(depth.fit_mask(d, target))
    assert mask[60] and mask[:49].all() and mask.sum() == 50


def test_the_metric_scale_is_the_median_of_the_inverse():
    assert depth.metric_scale(np.array([1.0, 4.0, np.nan, -2.0])) == 0.625
    assert np.isnan(depth.metric_scale(np.array([np.nan, 0.0])))
