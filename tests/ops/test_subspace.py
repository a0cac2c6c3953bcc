"""The low-rank tail: official numbers, closed forms, precision, gradients, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from egojax.ops.image import sample_masks
from egojax.ops.subspace import lowrank_tail, stack_tracks
from egojax.ops.temporal_basis import reduce_tracks, tail_excess
from egojax.train.mesh import make_mesh

METHODS = ("gram64", "qr32", "deflate32")
# What each promises, of values and of the largest slope.
PRECISION = {
    "gram64": (1e-6, 2e-5),
    "qr32": (3e-5, 1e-3),
    "deflate32": (1e-2, 1e-2),
}


def by_svd(tracks, masks, rank, weights=None):
    """Values and gradients by the masks, by definition in float64."""
    tracks, masks = np.asarray(tracks, np.float64), np.asarray(masks, np.float64)
    root = np.ones(tracks.shape[1]) if weights is None else np.sqrt(weights)
    values, slopes = [], []
    for mask in masks:
        u, s, v = np.linalg.svd(tracks * (root * mask), full_matrices=False)
        values.append(s[rank:].sum())
        slopes.append(((u[:, rank:] @ v[rank:]) * tracks * root).sum(0))
    return np.array(values), np.array(slopes)


def slopes_of(tracks, masks, rank, **options):
    return jax.grad(lambda m: lowrank_tail(tracks, m, rank, **options).sum())(masks)


# ------------------------------------------------------------------ official numbers


def tiny():
    """Eight rows of seven points, and two masks of 6 x 8 (spec 10.1)."""
    n, t = np.arange(7), np.arange(4)[:, None]
    x = 3 + 8 * ((3 * n) % 7) + t * (1 + n % 2) + ((5 * t + 2 * n) % 3)
    y = 3 + 6 * ((5 * n) % 7) - t * (n % 2) + ((2 * t + 7 * n) % 4)
    loc = np.stack([2 * x[1] / 63 - 1, 2 * y[1] / 47 - 1], -1).astype(np.float32)
    k, i, j = np.ogrid[:2, :6, :8]
    logits = np.sin(0.7 * i + 1.3 * j + 2.1 * k).astype(np.float32)
    return np.stack([x, y], -1).astype(np.float32), loc, logits


TINY_SLOPES = [
    [1.151833, 0.651558, 0.292760, 1.855060, 2.071960, 0.957851, 0.858107],
    [1.216885, 0.776041, 0.948137, 1.591851, 1.502129, 1.257663, 0.579761],
]


def test_masks_at_points_are_the_official_ones():
    _, loc, logits = tiny()
    found = sample_masks(jax.nn.softmax(logits, 0), loc)
    expected = [0.45251627, 0.51399964, 0.67305460, 0.47694159]
    expected += [0.46844354, 0.55643984, 0.43315470]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    np.testing.assert_allclose(found[1], 1 - np.array(expected), atol=1e-6)


def test_masks_beyond_the_image_are_zero():
    _, _, logits = tiny()
    loc = np.array([(-3, 0), (0, 0), (1, 1), (-1, -1), (0.25, -0.5)], np.float32)
    found = sample_masks(jax.nn.softmax(logits, 0), loc)
    np.testing.assert_allclose(
        found,
        [
            [0, 0.37043905, 0.07685953, 0.07416731, 0.43252102],
            [0, 0.62956095, 0.17314047, 0.17583269, 0.56747900],
        ],
        atol=1e-6,
    )


@pytest.mark.parametrize("method", METHODS[:2])
def test_the_official_numbers_of_a_tiny_clip(method):
    tracks, loc, logits = tiny()
    columns = stack_tracks(tracks)

    def loss(logits, rank):
        masks = sample_masks(jax.nn.softmax(logits, 0), loc)
        return lowrank_tail(columns, masks.clip(1e-6, 1 - 1e-6), rank, method=method)

    for rank, expected in ((0, 142.679449538), (2, 7.684149670), (5, 1.091681220)):
        assert loss(logits, rank).mean() == pytest.approx(expected, rel=3e-5)
    masks = sample_masks(jax.nn.softmax(logits, 0), loc)
    slopes = slopes_of(columns, masks, 2, method=method)
    np.testing.assert_allclose(slopes / 2, TINY_SLOPES, rtol=3e-4)  # A mean.
    by_logits = jax.grad(lambda x, r: loss(x, r).mean())
    for rank, norm in ((0, 3.802770686), (2, 0.207634125), (5, 0.151962423)):
        found = by_logits(logits, rank)
        assert np.linalg.norm(found) == pytest.approx(norm, rel=1e-3)
    row = [-0.00863294, -0.00258486, 0.00215631, 0.00254261, 0, 0, 0, 0]
    np.testing.assert_allclose(by_logits(logits, 2)[0, 0], row, atol=2e-6)


def medium():
    """Four motions of 500 points over ten frames, three masks (spec 10.3)."""
    rng = np.random.RandomState(0)
    grid = rng.uniform(size=(500, 2)) * (853, 479)
    label = (grid[:, 0] > 427) + 2 * ((grid[:, 1] > 288) & (grid[:, 0] < 256.2))
    speed, bend = 6 * rng.standard_normal((4, 2)), 0.8 * rng.standard_normal((4, 2))
    scale = 1 + 0.02 * rng.standard_normal(4)
    t = np.arange(-5, 5)[:, None, None]
    tracks = grid * scale[label][:, None] ** t + speed[label] * t + bend[label] * t**2
    tracks = (tracks + 0.5 * rng.standard_normal((10, 500, 2))).astype(np.float32)
    logits = rng.standard_normal((1, 3, 24, 44)).astype(np.float32)[0]
    return tracks, 2 * tracks[5] / np.float32([853, 479]) - 1, logits


@pytest.mark.parametrize(
    ("rank", "value", "norm", "at"),
    [
        (3, 361.645279249, 2.524653799, (0.01628746, -0.01038341, -0.00590405)),
        (4, 170.892359187, 1.215294022, (0.01561617, -0.00994599, -0.00567018)),
        (5, 96.628197819, 0.6447407795, (0.00417281, -0.00274727, -0.00142554)),
    ],
)
@pytest.mark.parametrize("method", METHODS[:2])
def test_the_official_numbers_of_a_medium_clip(method, rank, value, norm, at):
    tracks, loc, logits = medium()
    np.testing.assert_allclose(tracks[0, 0], (479.93262, 392.76123), rtol=1e-6)
    np.testing.assert_allclose(loc[0], (0.09804048, 0.43091393), rtol=1e-5)

    def loss(logits):
        masks = sample_masks(jax.nn.softmax(logits, 0), loc).clip(1e-6, 1 - 1e-6)
        return lowrank_tail(stack_tracks(tracks), masks, rank, method=method).mean()

    found, slope = jax.value_and_grad(loss)(logits)
    assert found == pytest.approx(value, rel=1e-6 if method == "gram64" else 1e-5)
    assert np.linalg.norm(slope) == pytest.approx(norm, rel=1e-4)
    np.testing.assert_allclose(slope[:, 5, 7], at, rtol=2e-3)


# ------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_diagonal_has_its_last_entries_for_a_tail(method, share):
    columns = np.diag([9.0, 7, 5, 3, 2, 1]).astype(np.float32)
    masks = np.full((2, 6), share, np.float32)
    found = lowrank_tail(columns, masks, 3, method=method)
    np.testing.assert_allclose(found, 6 * share, rtol=1e-5)
    slopes = slopes_of(columns, masks, 3, method=method)
    np.testing.assert_allclose(slopes, [[0, 0, 0, 3, 2, 1]] * 2, atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_affine_motion_has_rank_three_and_a_rigid_body_four(seed):
    rng = np.random.default_rng(seed)
    flat, solid = rng.normal(size=(3, 50)), rng.normal(size=(4, 50))
    flat[2] = solid[3] = 1.0
    for points, rank in ((flat, 3), (solid, 4)):
        columns = 100 * rng.normal(size=(20, rank)) @ points
        mask = rng.uniform(size=(1, 50)).astype(np.float32)
        given = columns.astype(np.float32)
        assert lowrank_tail(given, mask, rank)[0] < 1e-5 * np.linalg.norm(columns)
        assert lowrank_tail(given, mask, rank - 1)[0] > 1e-2 * np.linalg.norm(columns)


def bodies(seed, num=(40, 40), frames=20, noise=0.0):
    """Points of bodies with affine motions of their own, and whose they are."""
    rng = np.random.default_rng(seed)
    parts = []
    for count in num:
        points = np.concatenate([rng.uniform(0, 400, (2, count)), np.ones((1, count))])
        turn = np.eye(2, 3) + np.cumsum(0.02 * rng.normal(size=(frames, 2, 3)), 0)
        turn[:, :, 2] += np.cumsum(3 * rng.normal(size=(frames, 2)), 0)
        parts.append(turn @ points)
    tracks = np.moveaxis(np.concatenate(parts, -1), 1, -1)
    tracks += noise * rng.normal(size=tracks.shape)
    return tracks.astype(np.float32), np.repeat(np.arange(len(num)), num)


@pytest.mark.parametrize("seed", range(3))
def test_the_true_masks_cost_less_than_swapped_softened_or_merged_ones(seed):
    tracks, label = bodies(seed)
    columns = stack_tracks(tracks)
    true = (label == np.arange(2)[:, None]).astype(np.float32)
    swapped = true.copy()
    swapped[:, :5], swapped[:, 40:45] = true[::-1, :5], true[::-1, 40:45]
    merged = np.stack([np.ones(80), np.zeros(80)]).astype(np.float32)
    costs = [
        float(lowrank_tail(columns, m.clip(1e-6, 1 - 1e-6), 3).sum())
        for m in (true, 0.1 + 0.8 * true, swapped, merged, np.full_like(true, 0.5))
    ]
    true, soft, swap, one, blend = costs
    assert true < 0.1 * soft < soft < one
    assert true < 0.1 * swap
    # A uniform blend costs what merging does: the tail is homogeneous.
    assert blend == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.parametrize("seed", range(3))
def test_invariants_of_the_tail(seed, method):
    rng = np.random.default_rng(seed)
    tracks, _ = bodies(seed, noise=0.5)
    columns, mask = np.asarray(stack_tracks(tracks)), rng.uniform(0.1, 1, (3, 80))
    mask = mask.astype(np.float32)
    tail = functools.partial(lowrank_tail, rank=4, method=method)
    value, slope = tail(columns, mask), slopes_of(columns, mask, 4, method=method)
    np.testing.assert_allclose(tail(columns, 0.3 * mask), 0.3 * value, rtol=2e-4)
    assert (slope >= 0).all()
    np.testing.assert_allclose((mask * slope).sum(1), value, rtol=1e-4)  # Euler.
    order = rng.permutation(80)
    np.testing.assert_allclose(
        tail(columns[:, order], mask[:, order]), value, rtol=2e-4
    )
    turn = np.linalg.qr(rng.normal(size=(40, 40)))[0].astype(np.float32)
    np.testing.assert_allclose(tail(turn @ columns, mask), value, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_weight_counts_copies_and_zero_is_padding(method):
    tracks, _ = bodies(0, noise=0.5)
    columns = np.asarray(stack_tracks(tracks))
    mask = np.random.default_rng(0).uniform(0.1, 1, (2, 80)).astype(np.float32)
    counts = np.random.default_rng(1).integers(0, 4, 80)
    copied, masks = np.repeat(columns, counts, 1), np.repeat(mask, counts, 1)
    weights = counts.astype(np.float32)
    found = lowrank_tail(columns, mask, 4, weights, method=method)
    np.testing.assert_allclose(
        found, lowrank_tail(copied, masks, 4, method=method), rtol=1e-4
    )
    whole, end = slopes_of(copied, masks, 4, method=method), np.cumsum(counts)
    of_copies = [whole[:, b - c : b].sum(1) for b, c in zip(end, counts, strict=True)]
    slopes = slopes_of(columns, mask, 4, weights=weights, method=method)
    np.testing.assert_allclose(slopes, np.stack(of_copies, 1), rtol=1e-2, atol=1e-2)


# -------------------------------------------------------------------------- precision


def filmed(seed, frames=41, num=7000, noise=0.3, filtered=True):
    """Bodies under a moving camera, in pixels; smoothed over time, nearly singular."""
    tracks, _ = bodies(
        seed, (num - 3 * (num // 4), *[num // 4] * 3), frames + 10, noise
    )
    if filtered:
        kernel = np.lib.stride_tricks.sliding_window_view(tracks, 11, axis=0)
        tracks = kernel.mean(-1, dtype=np.float64).astype(np.float32)
    else:
        tracks = tracks[:frames]
    logits = np.random.default_rng(seed).normal(size=(4, num)) * 2
    masks = np.exp(logits) / np.exp(logits).sum(0)
    return np.asarray(stack_tracks(tracks)), masks.astype(np.float32)


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_tails_of_clips_are_precise(method, filtered):
    of_value, of_slope = PRECISION[method]
    columns, masks = filmed(0, num=3000, filtered=filtered)
    values, slopes = by_svd(columns, masks, 5)
    found = np.asarray(lowrank_tail(columns, masks, 5, method=method))
    np.testing.assert_allclose(found.mean(), values.mean(), rtol=of_value)
    error = np.abs(slopes_of(columns, masks, 5, method=method) - slopes)
    assert error.max() < of_slope * slopes.max()


def graded(seed, rows=82, num=3000):
    """Singular values from 1e5 down to 1e-4, as of smoothed real trajectories."""
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    v = np.linalg.qr(rng.normal(size=(num, rows)))[0]
    return (u * np.geomspace(1e5, 1e-4, rows)) @ v.T, rng.uniform(size=(4, num))


def test_values_that_fall_by_nine_orders_are_summed_to_a_millionth():
    columns, masks = (x.astype(np.float32) for x in graded(0))
    values, slopes = by_svd(columns, masks, 5)
    np.testing.assert_allclose(lowrank_tail(columns, masks, 5), values, rtol=1e-6)
    error = np.abs(slopes_of(columns, masks, 5) - slopes)
    assert error.max() < 2e-5 * slopes.max()


def test_places_far_from_the_origin_leave_no_rounding_in_the_gradient():
    columns, masks = filmed(0, num=1000)
    columns = columns + np.float32(4096)
    _, slopes = by_svd(columns, masks, 5)
    error = np.abs(slopes_of(columns, masks, 5, method="gram64") - slopes)
    assert error.max() < 1e-5 * slopes.max()


@pytest.mark.parametrize("num", [1, 1023, 1024, 1025, 8200])
def test_chunks_of_points_make_no_difference(num):
    rng = np.random.default_rng(num)
    columns = rng.normal(size=(12, num)).astype(np.float32)
    masks, weights = rng.uniform(size=(2, num)), rng.uniform(size=num)
    masks, weights = masks.astype(np.float32), weights.astype(np.float32)
    values, slopes = by_svd(columns, masks, 3, weights)
    for method in METHODS[:2]:
        found = lowrank_tail(columns, masks, 3, weights, method=method)
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-4)
        found = slopes_of(columns, masks, 3, weights=weights, method=method)
        np.testing.assert_allclose(found, slopes, rtol=1e-3, atol=1e-3)


# -------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_differences(seed):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(8, 30))
    masks, weights = rng.uniform(0.2, 1, (2, 30)), rng.uniform(0.2, 1, 30)
    given = [x.astype(np.float32) for x in (columns, masks, weights)]
    found = jax.grad(lambda *x: lowrank_tail(x[0], x[1], 2, x[2]).sum(), (0, 1, 2))(
        *given
    )

    def value(parts):
        return by_svd(parts[0], parts[1], 2, parts[2])[0].sum()

    exact = [np.asarray(x, np.float64) for x in given]
    for k, slope in enumerate(found):
        way = rng.normal(size=exact[k].shape)
        ends = []
        for sign in (-1e-6, 1e-6):
            parts = list(exact)
            parts[k] = parts[k] + sign * way
            ends.append(value(parts))
        expected = (ends[1] - ends[0]) / 2e-6
        assert (np.asarray(slope) * way).sum() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("columns", "masks"),
    [
        (np.ones((6, 9)), np.zeros((2, 9))),
        (np.zeros((6, 9)), np.ones((2, 9))),
        (np.ones((6, 9)), np.eye(2, 9)),
        (np.arange(24.0).reshape(12, 2), np.ones((3, 2))),
        (np.ones((2, 1)), np.ones((1, 1))),
        (np.ones((4, 0)), np.ones((2, 0))),
        (np.ones((4, 3)), np.ones((0, 3))),
        (np.repeat(np.arange(6.0).reshape(6, 1), 40, 1), np.full((2, 40), 0.5)),
    ],
)
def test_what_is_degenerate_has_finite_tails_and_gradients(columns, masks, method):
    columns, masks = columns.astype(np.float32), masks.astype(np.float32)
    found = lowrank_tail(columns, masks, 3, method=method)
    values = by_svd(columns, masks, 3)[0] if masks.size else np.zeros(len(masks))
    scale = 1e-3 * (1 + np.abs(columns).sum())
    np.testing.assert_allclose(found, values, atol=scale)
    for arg in (0, 1):
        slope = jax.grad(
            lambda *x: lowrank_tail(*x, 3, method=method).sum(), argnums=arg
        )(columns, masks)
        assert np.isfinite(slope).all()


def test_a_rank_beyond_all_values_leaves_nothing():
    columns, masks = np.ones((4, 9), np.float32), np.ones((2, 9), np.float32)
    assert lowrank_tail(columns, masks, 9).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="rank=-1; expected 0 or more"):
        lowrank_tail(columns, masks, -1)


# -------------------------------------------------------------------- basis of time


@pytest.mark.parametrize("keep", [6, 12, 24])
@pytest.mark.parametrize("seed", range(2))
def test_a_basis_of_time_loses_no_more_than_it_says(seed, keep):
    columns, masks = filmed(seed, frames=60, num=300)
    values = by_svd(columns, masks, 5)[0]
    reduced = reduce_tracks(columns, keep)
    assert reduced.tracks.shape == (2 * keep, 300)
    found = by_svd(reduced.tracks, masks, 5)[0]
    excess = np.asarray(tail_excess(reduced.lost, masks, 120 - 2 * keep))
    assert (found <= values * (1 + 1e-5)).all()
    assert (values <= (found + excess) * (1 + 1e-5)).all()
    np.testing.assert_allclose(lowrank_tail(reduced.tracks, masks, 5), found, rtol=1e-5)


def test_a_whole_basis_changes_no_tail():
    columns, masks = filmed(0, frames=20, num=200, filtered=False)
    reduced = reduce_tracks(columns, 99)
    assert reduced.tracks.shape == columns.shape
    assert float(reduced.lost.max()) < 1e-6 * np.abs(columns).max() * 40
    values = by_svd(columns, masks, 5)[0]
    np.testing.assert_allclose(
        lowrank_tail(reduced.tracks, masks, 5), values, rtol=1e-4
    )
    still = np.repeat(np.arange(6.0), 5).reshape(6, 5).astype(np.float32)
    np.testing.assert_allclose(
        np.linalg.norm(reduce_tracks(still, 3).tracks), np.linalg.norm(still), rtol=1e-6
    )


# ------------------------------------------------------------------- transformations


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_batch_is_its_clips_one_by_one_inside_jit(method):
    clips = [filmed(seed, 6, 1500) for seed in range(3)]
    columns, masks = (np.stack(part) for part in zip(*clips, strict=True))

    @jax.jit
    def both(columns, masks):
        def one(p, m):
            return lowrank_tail(p, m, 2, method=method)

        value = jax.vmap(one)(columns, masks)
        return value, jax.grad(lambda m: jax.vmap(one)(columns, m).sum())(masks)

    values, slopes = both(columns, masks)
    assert values.dtype == slopes.dtype == jnp.float32
    for n, (p, m) in enumerate(clips):
        alone = lowrank_tail(p, m, 2, method=method)
        np.testing.assert_allclose(values[n], alone, rtol=1e-5)
        alone = slopes_of(p, m, 2, method=method)
        np.testing.assert_allclose(slopes[n], alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_points_may_be_split_over_devices(method):
    columns, masks = filmed(0, num=2400)
    weights = np.random.default_rng(0).uniform(size=2400).astype(np.float32)

    @functools.partial(
        jax.shard_map,
        mesh=make_mesh(4),
        in_specs=(P(None, "data"), P(None, "data"), P("data")),
        out_specs=(P(), P(None, "data")),
    )
    def split(columns, masks, weights):
        def total(masks):
            found = lowrank_tail(
                columns, masks, 5, weights, method=method, axis_name="data"
            )
            return found.sum(), found

        slope, found = jax.grad(total, has_aux=True)(masks)
        return found, slope

    found, slopes = jax.jit(split)(columns, masks, weights)
    whole = lowrank_tail(columns, masks, 5, weights, method=method)
    of_value, of_slope = PRECISION[method]
    np.testing.assert_allclose(found, whole, rtol=of_value)
    expected = slopes_of(columns, masks, 5, weights=weights, method=method)
    error = np.abs(slopes - expected).max() / expected.max()
    assert error < of_slope


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_tail_and_its_gradient_lower_for_every_device(platform):
    def step(columns, masks):
        return jax.value_and_grad(lambda m: lowrank_tail(columns, m, 5).sum())(masks)

    given = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((82, 3000), (4, 3000))]
    exported = jax.export.export(jax.jit(step), platforms=[platform])(*given)
    text = exported.mlir_module()
    assert ("f64" in text) == (platform != "tpu")
