"""The loss of free masks: windows of points whose motions are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.methods.lowrank_masks import (
    LossSettings,
    descend,
    mask_loss,
    mask_problem,
    mask_tails,
    merging_gain,
)
from egojax.methods.motion_groups import Graph, track_graph
from egojax.methods.motion_windows import windows
from egojax.ops.subspace import lowrank_tail, stack_tracks
from tests.moving_points import moving_points

PLAIN = LossSettings(smooth=0.0, price=0.0)
NONE = Graph(np.zeros((0, 2), np.int64), np.zeros(0))


def _problem(seed=1, length=15, settings=PLAIN, hop=5):
    """Windows, their graph, the problem and the true group of each track."""
    tracks, truth = moving_points(seed)
    some = list(windows(tracks, 0, 30, length, hop))
    graph = track_graph(some, len(tracks))
    return some, graph, mask_problem(some, graph, len(tracks), settings), truth


def _masks(problem, part, count=4):
    rows = np.zeros(len(problem.share), int)
    rows[: len(part)] = part
    return jax.nn.one_hot(rows, count)


def _reference(some, part, count, settings):
    """Nuclear norms of what is left of slow motion beside affine functions, float64."""
    total, one = np.zeros(count), 0.0
    for window in some:
        frames = len(window.residual)
        time = np.arange(frames) + 0.5
        wave = np.cos(np.pi / frames * time * np.arange(settings.keep)[:, None])
        wave /= np.linalg.norm(wave, axis=1, keepdims=True)
        level = max(settings.noise, window.noise)
        motion = window.residual.astype(np.float64) / level
        slow = np.einsum("kt,tnc->ckn", wave, motion).reshape(-1, motion.shape[1])
        ones = np.ones(len(window.tracks))
        shape = np.stack([*window.middle.astype(np.float64).T, ones])
        group = part[window.tracks]

        def tail(mine, slow=slow, shape=shape):
            basis = np.linalg.qr(shape[:, mine].T)[0]
            left = slow[:, mine] - (slow[:, mine] @ basis) @ basis.T
            return np.linalg.svd(left, compute_uv=False).sum()

        total += [tail(group == k) for k in range(count)]
        one += tail(ones > 0)
    return total / one


@pytest.mark.parametrize(("length", "hop"), [(15, 5), (5, 2)])
def test_tails_are_what_no_affine_motion_explains(length, hop):
    """Of four windows, and of so many that they are worked on in two pieces."""
    some, _, problem, truth = _problem(length=length, hop=hop)
    assert len(some) == {5: 4, 2: 14}[hop]
    found = mask_tails(problem, _masks(problem, truth), PLAIN.rank)
    expected = _reference(some, truth, 3, PLAIN)
    np.testing.assert_allclose(found[:3], expected, rtol=2e-3)
    assert found[3] == 0


@pytest.mark.parametrize("count", [8, 30])
def test_a_small_mask_of_two_motions_is_as_wrong_as_a_large_one(count):
    """No motion is so fast, or mask so small, that shape is what stays free."""
    some, _, _, truth = _problem()
    # Tracks of the scene as near as can be to a body's, and these: some pixels.
    middle = np.zeros((len(truth), 2))
    for window in some:
        middle[window.tracks] = window.middle
    mean = middle[truth == 1].mean(0)
    near = np.argsort(((middle - mean) ** 2).sum(1) + 1e6 * (truth == 2))
    body, scene = (near[truth[near] == k][: count // 2] for k in (1, 0))
    part = truth.copy()
    part[[*body, *scene]] = 3
    fast = [w._replace(residual=20 * w.residual) for w in some]
    settings = dataclasses.replace(PLAIN, noise=0.5)
    problem = mask_problem(fast, NONE, len(truth), settings)
    found = mask_tails(problem, _masks(problem, part), PLAIN.rank)
    expected = _reference(fast, part, 4, settings)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_one_mask_for_all_costs_one():
    settings = LossSettings()
    _, _, problem, truth = _problem(settings=settings)
    one = mask_loss(problem, _masks(problem, np.zeros_like(truth)), settings)
    assert float(one) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("length", [15, 5])
def test_the_truth_costs_less_than_what_is_merged_or_cut(length):
    settings = LossSettings()
    some, _, problem, truth = _problem(length=length, settings=settings)

    def loss(part):
        return float(mask_loss(problem, _masks(problem, part), settings))

    half = np.zeros(len(truth), int)
    for window in some:
        half[window.tracks] = window.middle[:, 0] < 216
    best = loss(truth)
    assert best < 0.9 * loss(np.where(truth == 1, 0, truth)) < 0.9
    assert best < 0.9 * loss(np.where(truth == 2, 0, truth)) < 0.9
    assert best < loss(np.where((truth == 0) & (half == 1), 3, truth))
    assert best < 0.8 * loss(half)
    # Two small bodies far from each other can have one affine motion: nearly a draw.
    assert best < 1.1 * loss(np.where(truth == 2, 1, truth))


def test_the_published_rank_of_plain_tracks_prefers_one_mask_in_short_windows():
    """Why this loss is another one: two values are free, and five frames are short."""
    tracks, truth = moving_points(1)
    ours, published = [], []
    settings = LossSettings(smooth=0.0, price=0.0)
    for window in windows(tracks, 0, 30, 5, 5):
        numbers, places = tracks.through(window.start, window.start + 5)
        masks = jnp.asarray(truth[numbers][None] == np.arange(3)[:, None], jnp.float32)
        matrix = stack_tracks(jnp.asarray(places))
        one = lowrank_tail(matrix, jnp.ones_like(masks[:1]), 5).sum()
        published.append(float(lowrank_tail(matrix, masks, 5).sum() / one))
        problem = mask_problem([window], NONE, len(tracks), settings)
        ours.append(float(mask_loss(problem, _masks(problem, truth), settings)))
    assert min(published) > 1.1 and max(ours) < 0.9


def test_the_order_of_points_and_the_place_of_the_image_do_not_matter():
    some, graph, problem, truth = _problem()
    expected = mask_tails(problem, _masks(problem, truth), 3)
    order = np.random.default_rng(0).permutation(len(truth))
    mixed = [
        window._replace(
            tracks=order[window.tracks],
            middle=window.middle + np.float32(1000),
        )
        for window in some
    ]
    other = mask_problem(mixed, graph, len(truth), PLAIN)
    part = np.zeros_like(truth)
    part[order] = truth
    found = mask_tails(other, _masks(other, part), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_windows_of_several_lengths_are_one_problem():
    short, graph, _, truth = _problem(length=5)
    long = _problem(length=15)[0]
    settings = dataclasses.replace(PLAIN, keep=9)
    both = mask_problem(short[:1] + long[:1], graph, len(truth), settings)
    alone = [
        mask_problem([w], graph, len(truth), settings) for w in (short[0], long[0])
    ]
    masks = _masks(both, truth)
    found = mask_tails(both, masks, 3) * both.unit.sum()
    parts = [mask_tails(p, masks, 3) * p.unit.sum() for p in alone]
    np.testing.assert_allclose(found, parts[0] + parts[1], rtol=1e-3, atol=1e-3)


def test_pairs_that_are_cut_and_masks_in_use_cost_what_is_said():
    settings = LossSettings(smooth=2.0, price=0.5)
    graph = Graph(np.array([[0, 1], [1, 2], [0, 3]]), np.array([0.0, 1.0, 3.0]))
    some = _problem()[0]
    problem = mask_problem(some, graph, 300, settings)
    part = np.zeros(300, int)
    part[1] = 1
    masks = _masks(problem, part)
    rest = mask_loss(problem, masks, settings) - mask_tails(problem, masks, 3).sum()
    cut = 2.0 * (1.0 + 0.5) / (1.0 + 0.5 + 0.25)
    price = 0.5 * (np.sqrt(299 / 300) + np.sqrt(1 / 300) - 1)
    assert float(rest) == pytest.approx(cut + price, abs=1e-3)


def test_what_merging_gains_is_the_difference_of_losses():
    settings = LossSettings()
    _, _, problem, truth = _problem(settings=settings)
    part = np.where((truth == 0) & (np.arange(len(truth)) % 2 == 0), 3, truth)
    masks = _masks(problem, part)
    gain = np.asarray(merging_gain(problem, masks, settings))
    before = float(mask_loss(problem, masks, settings))
    for a, b in ((0, 3), (0, 1), (1, 2)):
        after = mask_loss(
            problem, _masks(problem, np.where(part == b, a, part)), settings
        )
        assert gain[a, b] == pytest.approx(before - float(after), abs=1e-5)
    assert gain[0, 3] > 0 > gain[0, 1]
    assert np.isneginf(gain[np.tril_indices(4)]).all()


def test_masks_descend():
    settings = LossSettings()
    _, _, problem, _ = _problem(settings=settings)
    start = 0.5 * jax.random.normal(jax.random.key(0), (len(problem.share), 4))

    def loss(logits):
        return float(mask_loss(problem, jax.nn.one_hot(logits.argmax(1), 4), settings))

    words = dict(steps=40, batch=4, rate=0.2, coldest=0.1)
    end = descend(problem, start, jax.random.key(1), settings, **words)
    assert loss(end) < 0.8 < loss(start)
    again = descend(problem, start, jax.random.key(1), settings, **words)
    np.testing.assert_array_equal(end, again)


def test_no_motion_is_one_mask_without_a_fault():
    some = [w._replace(residual=0 * w.residual) for w in _problem()[0]]
    settings = LossSettings()
    problem = mask_problem(some, NONE, 300, settings)
    masks = _masks(problem, np.arange(300) % 4)
    slope = jax.grad(lambda m: mask_loss(problem, m, settings))(masks)
    assert np.isfinite(slope).all()
    one = mask_loss(problem, _masks(problem, np.zeros(300, int)), settings)
    assert float(one) < float(mask_loss(problem, masks, settings))


def test_residuals_that_are_not_finite_are_refused():
    some, graph, _, truth = _problem()
    bad = some[0].residual.copy()
    bad[2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        mask_problem([some[0]._replace(residual=bad)], graph, len(truth), PLAIN)
