"""Positions along rays against the published values and plain loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import sampling


def test_strata_are_the_published_ones():
    t = sampling.stratify(jnp.float32(1), jnp.float32(4), 4)
    np.testing.assert_allclose(t, [1, 2, 3, 4], atol=1e-6)
    lower, upper = sampling.strata(t)
    np.testing.assert_allclose(lower, [1, 1.5, 2.5, 3.5], atol=1e-6)
    np.testing.assert_allclose(upper, [1.5, 2.5, 3.5, 4], atol=1e-6)


def test_jitter_moves_positions_within_their_strata_and_keeps_their_order():
    rng = np.random.default_rng(0)
    near, far = np.float32([0.1, 2.0, 3.0]), np.float32([5.0, 2.5, 3.0])
    jitter = rng.random((3, 16)).astype(np.float32)
    t = np.asarray(sampling.stratify(near, far, 16, jitter))
    assert (np.diff(t) >= -1e-6).all()
    assert (t >= near[:, None] - 1e-6).all() and (t <= far[:, None] + 1e-6).all()
    bare = np.asarray(sampling.stratify(near, far, 16))
    lower, upper = sampling.strata(bare)
    np.testing.assert_allclose(t, lower + (upper - lower) * jitter, atol=1e-6)


@pytest.mark.parametrize(
    ("bins", "weights", "num", "expected"),
    [
        ([0, 1, 2, 4], [1, 3, 0], 5, [0, 0.9999975, 1.3333338, 1.6666687, 4]),
        (
            [0.5, 1.5, 2.5, 3.5, 4.5],
            [0.1, 0.2, 0.6, 0.05],
            6,
            [0.5, 1.9499676, 2.6333244, 2.9499993, 3.266674, 4.5],
        ),
        ([0.5, 1.5, 2.5, 3.5, 4.5], [0, 0, 0, 0], 4, [0.5, 1.8333334, 3.1666665, 4.5]),
    ],
)
def test_quantiles_are_the_published_ones(bins, weights, num, expected):
    u = jnp.linspace(0.0, 1.0, num)
    found = sampling.sample_pdf(np.float32(bins), np.float32(weights), u)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def plain_sample_pdf(bins, weights, u):
    """The published definition for one ray, in float64."""
    p = (np.float64(weights) + 1e-5) / (np.float64(weights) + 1e-5).sum()
    cdf = np.concatenate([[0.0], np.cumsum(p)])
    out = []
    for value in u:
        idx = np.searchsorted(cdf, value, side="right")
        low, high = max(idx - 1, 0), min(idx, len(weights))
        mass = cdf[high] - cdf[low]
        share = (value - cdf[low]) / (1.0 if mass < 1e-5 else mass)
        out.append(bins[low] + share * (bins[high] - bins[low]))
    return np.array(out)


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    bins = np.sort(rng.uniform(0, 9, (7, 12)), -1).astype(np.float32)
    weights = (rng.random((7, 11)) * (rng.random((7, 11)) > 0.4)).astype(np.float32)
    u = rng.uniform(0.001, 0.999, (7, 30)).astype(np.float32)
    found = sampling.sample_pdf(bins, weights, u)
    expected = [plain_sample_pdf(*row) for row in zip(bins, weights, u, strict=True)]
    # A quantile that float32 moves into the next bin may cross a bin without weight.
    off = np.abs(found - np.array(expected))
    assert (off < 1e-3).mean() > 0.99 and np.median(off) < 1e-5


def test_samples_follow_the_weights():
    weights = jnp.array([[0.0, 1.0, 3.0, 0.0]])
    u = jax.random.uniform(jax.random.key(0), (1, 20000))
    t = np.asarray(sampling.sample_pdf(jnp.arange(5.0)[None], weights, u))
    share = np.histogram(t, bins=5, range=(0, 5))[0] / t.size
    np.testing.assert_allclose(share, [0, 0.25, 0.75, 0, 0], atol=0.015)


def test_no_gradient_flows_through_the_weights_and_none_is_nan():
    bins, u = jnp.linspace(0.0, 3.0, 4)[None], jnp.array([[0.0, 0.4, 1.0]])

    def total(bins, weights):
        return sampling.sample_pdf(bins, weights, u).sum()

    slopes = jax.grad(total, argnums=(0, 1))(bins, jnp.zeros((1, 3)))
    chex.assert_tree_all_finite(slopes)
    assert (slopes[1] == 0).all() and (slopes[0] != 0).any()


def test_a_wrong_number_of_edges_names_both():
    with pytest.raises(ValueError, match="4 edges for 4 weights"):
        sampling.sample_pdf(jnp.zeros(4), jnp.zeros(4), jnp.zeros(2))


def test_refining_keeps_all_old_positions_and_adds_where_the_weight_is():
    t = jnp.linspace(1.0, 5.0, 9)[None]
    weights = jnp.zeros((1, 9)).at[0, 4].set(1.0)
    found = np.asarray(sampling.refine(t, weights, jnp.linspace(0.1, 0.9, 5)[None]))
    assert found.shape == (1, 14) and (np.diff(found) >= 0).all()
    assert np.isin(np.asarray(t), found).all()
    new = found[~np.isin(found, np.asarray(t))]
    assert ((new > 2.74) & (new < 3.26)).all()


def test_the_published_coarse_stage_leads_to_the_published_positions():
    """Density 0.5, 1, 2 at 1, 2, 3: weights 0.393, 0.383, 0.223; new at 1.5 and 2.5."""
    t = jnp.array([[1.0, 2.0, 3.0]])
    weights = jnp.array([[0.39346933, 0.3834005, 0.22313017]])
    found = sampling.refine(t, weights, jnp.array([[0.0, 1.0]]))
    np.testing.assert_allclose(found, [[1, 1.5, 2, 2.5, 3]], atol=1e-6)


def test_sampling_lowers_for_every_device():
    def everything(near, far, weights, u):
        return sampling.refine(sampling.stratify(near, far, 8), weights, u)

    args = jnp.zeros(4), jnp.ones(4), jnp.ones((4, 8)), jnp.ones((4, 5))
    out = export.export(jax.jit(everything), platforms=("cpu", "cuda", "tpu"))(*args)
    assert out.platforms == ("cpu", "cuda", "tpu")
