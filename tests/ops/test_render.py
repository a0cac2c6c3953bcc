"""Volume rendering against the published example, plain loops and closed forms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import render

T = jnp.array([1.0, 1.5, 2.0, 2.5, 3.0])
RISE = np.arange(5)[:, None] * 0.1
RGB = jnp.float32(
    [
        RISE * [1, 1, 1] + [0.1, 0.2, 0.3],
        RISE * [-1, 1, 0] + [0.9, 0.1, 0.1],
        RISE * [-1, -1, -1] + [0.8, 0.7, 0.6],
    ]
)
DENSITY = jnp.array(
    [
        [0.2, 0.5, 1.0, 2.0, 3.0],
        [0.1, 0.3, 0.0001, 0.7, 0.01],
        [0.4, 0.1, 0.05, 0.02, 0.03],
    ]
)
BETA = jnp.array([[0.5, 0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.4, 0.5, 0.6]])


def published(density=DENSITY, rgb=RGB):
    """The published renderer on the published example."""
    mixed = render.stream_weights(density, render.deltas(T), last="official")
    out = render.composite_streams(mixed, rgb, T)
    return mixed, out, render.uncertainty(mixed.weights[1:], BETA, 0.03)


def close(found, expected, atol=2e-6):
    np.testing.assert_allclose(found, expected, atol=atol)


def test_weights_of_streams_are_the_published_ones():
    mixed, out, beta = published()
    close(mixed.total.alpha, [0.29531193, 0.36237186, 0.4084742, 0.74333924, 1])
    close(
        mixed.total.trans,
        [1, 0.7046881, 0.44932893, 0.26578966, 0.06821778],
    )
    close(
        mixed.alpha,
        [
            [0.08437483, 0.20131768, 0.38898602, 0.546573, 1],
            [0.04218742, 0.12079062, 0.0000389, 0.19130054, 0.63212055],
            [0.16874966, 0.04026354, 0.0194493, 0.00546573, 0.95021296],
        ],
    )
    close(
        mixed.total.weights,
        [0.29531193, 0.25535914, 0.18353927, 0.19757189, 0.06821778],
    )
    close(out.opacity, 1)
    close(out.masks, [0.6145149, 0.22129217, 0.2721362])
    close(beta, 0.18500495)
    close(out.depth, 1.7440122)


def test_colors_of_streams_are_the_published_ones():
    _, out, _ = published()
    close(out.rgb, [0.52636826, 0.4656082, 0.45882815])
    close(
        out.parts,
        [
            [0.1814638, 0.24291527, 0.30436677],
            [0.15814504, 0.06314714, 0.02212922],
            [0.18675943, 0.15954581, 0.13233218],
        ],
    )


def test_streams_alone_are_the_published_ones():
    mixed, _, _ = published()
    found = [render.stream_alone(mixed.alpha[q], RGB[q], T) for q in range(3)]
    close(found[0].rgb, [0.32963544, 0.42963547, 0.5296354])
    close(found[1].rgb, [0.44243732, 0.30703914, 0.07494765])
    close(found[2].rgb, [0.46557787, 0.36945128, 0.27332464])
    close([f.depth for f in found], [2.1481771, 1.9099339, 2.4784412], atol=4e-6)
    close([f.mass for f in found], [1.0, 0.7494765, 0.9612661])


def test_a_suppressed_actor_gives_the_published_rendering():
    mixed, out, beta = published(DENSITY.at[2].set(0.0))
    close(out.rgb, [0.4309396, 0.39449358, 0.41874442])
    close(beta, 0.11496041)
    close(out.masks, [out.masks[0], 0.27740628, 0])
    close(out.depth, 1.9391458)
    close(mixed.total.alpha, [0.139292, 0.32967997, 0.39349967, 0.74075973, 1])


def test_the_far_wall_gives_the_published_rendering():
    density, rgb = render.far_wall(DENSITY, RGB, jnp.full(3, 0.5))
    _, out, beta = published(density, rgb)
    _, before, beta_before = published()
    close(out.rgb, [0.52636826, 0.45878646, 0.4451846])
    close(
        [out.depth, beta, *out.masks],
        [before.depth, beta_before, *before.masks],
        atol=1e-7,
    )


def test_the_coarse_pass_is_the_published_one():
    t = jnp.array([1.0, 2.0, 3.0])
    rgb = jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    found = render.ray_weights(jnp.array([0.5, 1.0, 2.0]), render.deltas(t)).weights
    close(found, [0.39346933, 0.3834005, 0.22313017])
    close(render.accumulate(found, rgb), [0.34889823, 0.44889826, 0.5488982])
    close((found * t).sum(), 1.8296609)


def test_fog_in_front_of_a_wall_still_absorbs():
    """By hand: tau = (0.5, 1e9), so the wall gets exp(-0.5) of the light."""
    out = render.ray_weights(jnp.array([0.5, 1e9]), jnp.ones(2))
    np.testing.assert_allclose(out.weights, [0.39346934, 0.60653066], rtol=1e-6)


def plain_streams(density, delta, mixing, last):
    """One ray, interval by interval, in float64."""
    density, delta = np.float64(density), np.float64(delta)
    trans, weights = 1.0, np.zeros_like(density)
    for i in range(len(delta)):
        total = density[:, i].sum()
        alpha = 1 - np.exp(-delta[i] * total)
        apart = 1 - np.exp(-delta[i] * density[:, i])
        share = density[:, i] / total * alpha if total > 0 else 0.0 * apart
        is_last = last == "official" and i == len(delta) - 1
        part = apart if mixing == "separate" or is_last else share
        weights[:, i] = trans * part
        trans *= 1 - alpha
    return weights


@pytest.mark.parametrize("mixing", ["normalized", "separate"])
@pytest.mark.parametrize("last", ["normalized", "official"])
def test_weights_of_streams_are_those_of_a_plain_loop(mixing, last):
    rng = np.random.default_rng(0)
    for scale in (1e-4, 0.1, 5.0, 300.0):
        density = scale * rng.exponential(size=(3, 8)) * (rng.random((3, 8)) > 0.3)
        delta = rng.exponential(size=8) * 0.3
        found = render.stream_weights(
            density.astype(np.float32), np.float32(delta), mixing=mixing, last=last
        )
        expected = plain_streams(density, delta, mixing, last)
        np.testing.assert_allclose(found.weights, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_streams_sum_to_the_whole_and_never_above_one(seed):
    rng = np.random.default_rng(seed)
    density = rng.exponential(size=(3, 5, 9)).astype(np.float32) * 10 ** rng.uniform(
        -3, 3
    )
    delta = rng.exponential(size=(5, 9)).astype(np.float32)
    mixed = render.stream_weights(density, delta)
    close(mixed.weights.sum(0), mixed.total.weights, atol=1e-6)
    assert (mixed.weights.sum((0, -1)) <= 1 + 1e-5).all()
    old = render.stream_weights(density, delta, last="official")
    close(old.weights[..., :-1], mixed.weights[..., :-1], atol=1e-6)


def test_a_stream_split_in_two_halves_changes_nothing_before_the_last_interval():
    halves = jnp.concatenate([DENSITY[:1] / 2, DENSITY[:1] / 2, DENSITY[1:]])
    found = render.stream_weights(halves, render.deltas(T), last="official")
    whole = render.stream_weights(DENSITY, render.deltas(T), last="official")
    joined = jnp.concatenate([found.weights[:2].sum(0)[None], found.weights[2:]])
    close(joined[..., :-1], whole.weights[..., :-1], atol=1e-6)


def test_empty_streams_leave_the_plain_rendering():
    alone = DENSITY.at[1:].set(0.0)
    mixed = render.stream_weights(alone, render.deltas(T), last="official")
    plain = render.ray_weights(DENSITY[0], render.deltas(T))
    close(mixed.weights[0], plain.weights, atol=1e-6)
    assert (mixed.weights[1:] == 0).all()


def test_rays_in_another_order_give_the_same_in_that_order():
    rng = np.random.default_rng(0)
    density = rng.exponential(size=(3, 6, 5)).astype(np.float32)
    delta = rng.exponential(size=(6, 5)).astype(np.float32)
    order = rng.permutation(6)
    a = render.stream_weights(density, delta).weights[:, order]
    b = render.stream_weights(density[:, order], delta[order]).weights
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("density", [0.0, 1e-30, 1e-4, 1e6, 1e30])
@pytest.mark.parametrize("last", ["normalized", "official"])
def test_values_and_gradients_stay_finite(density, last):
    def total(density):
        mixed = render.stream_weights(density, render.deltas(T), last=last)
        out = render.composite_streams(mixed, RGB, T)
        alone = render.stream_alone(mixed.alpha[0], RGB[0], T)
        return out.rgb.sum() + out.depth + alone.rgb.sum()

    for streams in ([1, 1, 1], [1, 0, 0], [0, 0, 1]):
        at = density * jnp.float32(streams)[:, None] * jnp.ones((3, 5))
        chex.assert_tree_all_finite(jax.value_and_grad(total)(at))


@pytest.mark.parametrize("tau", [1e-6, 0.0099, 0.0101, 1.0])
def test_gradients_of_shares_are_those_of_float64_differences(tau):
    """On both sides of where the series ends."""
    delta, density = np.array([1.0, 1.0]), tau * np.array([[0.3, 1.0], [0.7, 2.0]])

    def mass(d):
        return render.stream_weights(d, jnp.float32(delta)).weights[0].sum()

    found = jax.grad(mass)(jnp.float32(density))
    for at in np.ndindex(2, 2):
        ends = []
        for sign in (1, -1):
            moved = density.copy()
            moved[at] += sign * 1e-4 * tau
            weights = plain_streams(moved, delta, "normalized", "normalized")
            ends.append(weights[0].sum())
        slope = (ends[0] - ends[1]) / (2e-4 * tau)
        np.testing.assert_allclose(found[at], slope, rtol=2e-3, atol=2e-4)


def test_an_opaque_far_end_takes_all_light_that_is_left():
    found = render.ray_weights(jnp.zeros((2, 4)), jnp.ones((2, 4)), opaque_far=True)
    close(found.weights, [[0, 0, 0, 1]] * 2)
    found = render.ray_weights(DENSITY[0], jnp.ones(5), opaque_far=True)
    close(found.weights.sum(), 1.0)


def test_rendering_lowers_for_every_device():
    def everything(density, rgb, t):
        mixed = render.stream_weights(density, render.deltas(t), last="official")
        out = render.composite_streams(mixed, rgb, t)
        return out, render.stream_alone(mixed.alpha[0], rgb[0], t)

    args = jnp.ones((3, 4, 5)), jnp.ones((3, 4, 5, 3)), jnp.ones((4, 5))
    out = export.export(jax.jit(everything), platforms=("cpu", "cuda", "tpu"))(*args)
    assert out.platforms == ("cpu", "cuda", "tpu")
