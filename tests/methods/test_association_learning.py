"""Learning the weights: what counts, what is right, the gradient, and that it helps."""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import export

from egojax.errors import UsageError
from egojax.methods import association, association_learning
from egojax.methods.association import DEFAULT_WEIGHTS, Columns
from egojax.methods.association_learning import LEARNED
from egojax.methods.tracker import TrackerConfig
from egojax.ops.association import CostWeights
from egojax.train.loop import FitConfig, fit
from egojax.train.mesh import make_mesh

ONLINE = TrackerConfig()


def columns_of(rows: list, num_frames: int, feature=None) -> Columns:
    """Rows of (frame, 2D id, x)."""
    t, segment, x = map(np.array, zip(*rows, strict=True))
    place = np.stack([x, 0 * x, 0 * x], 1).astype(np.float32)
    look = np.ones((len(rows), 2)) if feature is None else feature
    return Columns(
        frame_idx=t.astype(np.int32),
        segment_id=segment.astype(np.int64),
        category=np.zeros(len(rows), np.int32),
        location=place,
        feature=np.asarray(look, np.float32),
        num_frames=num_frames,
    )


def moments_of(columns: Columns, truth, **changes):
    return association_learning.moments(
        columns, np.asarray(truth), DEFAULT_WEIGHTS, ONLINE, **changes
    )


def test_the_first_link_of_a_run_is_worth_the_run():
    """2D id 1 shows object 5 thrice, then object 6 twice; 2D id 2 is nothing real."""
    rows = [(t, 1, 0.0) for t in range(5)] + [(2, 2, 9.0)]
    rows.sort(key=lambda row: row[0])
    truth = [5, 5, 5, -2, 6, 6]
    worth = association_learning._worth(columns_of(rows, 5), np.array(truth))
    np.testing.assert_array_equal(worth, [3, 1, 1, 0, 2, 1])


def test_of_an_object_in_two_parts_one_counts():
    rows = [(0, 1, 0.0), (1, 1, 0.0), (1, 2, 0.1), (2, 1, 0.0)]
    worth = association_learning._worth(columns_of(rows, 3), np.array([5, 5, 5, 5]))
    # Part 2 begins and ends in frame 1, where part 1 has an equal claim: one is left.
    assert worth[0] == 3 and worth[3] == 1 and sorted(worth[1:3]) == [0, 1]


def test_the_right_answer_is_the_track_that_holds_the_object():
    """An object that comes back 4 m away, among others; and a first sight."""
    rows = [(0, 1, 0.0), (0, 2, 2.0), (1, 1, 0.0), (1, 2, 2.0), (3, 3, 4.0)]
    rows += [(3, 4, -3.0)]
    found = moments_of(columns_of(rows, 4), [7, 8, 7, 8, 7, 9])
    np.testing.assert_array_equal(found.target[:, :2], [[-1, -1], [0, 1], [0, -1]])
    np.testing.assert_array_equal(found.weight[:, :2], [[2, 2], [1, 1], [1, 1]])
    alive = found.tracks.alive.sum(1)
    np.testing.assert_array_equal(alive, [0, 2, 2])
    np.testing.assert_allclose(found.tracks.location[2, :2, 0], [0.0, 2.0])


def test_long_clips_are_drawn_from(scene):
    one = scene(0, frames=120)
    found = moments_of(columns_from(one), one.truth, max_frames=20)
    again = moments_of(columns_from(one), one.truth, max_frames=20)
    assert len(found.weight) == 20
    jax.tree.map(np.testing.assert_array_equal, found, again)


def test_the_table_grows_with_the_clip():
    """More objects than the first bucket has room for."""
    rows = [(t, 10 * t + k, 3.0 * (10 * t + k)) for t in range(30) for k in range(10)]
    truth = np.arange(1, 301)
    found = moments_of(columns_of(rows, 30), truth)
    assert (found.target == -1).all() and found.tracks.alive.sum(1)[-1] == 290


def test_clips_are_padded_to_the_largest():
    small = moments_of(columns_of([(0, 1, 0.0), (1, 1, 0.0)], 2), [3, 3])
    rows = [(t, k, 2.0 * k) for t in range(2) for k in range(20)]
    large = moments_of(columns_of(rows, 2), np.tile(np.arange(1, 21), 2))
    both = association_learning.join([small, large])
    assert both.weight.shape == (4, 32) and both.tracks.label.shape == (4, 32)
    model = association_learning.make_model(DEFAULT_WEIGHTS, 2)
    key = jax.random.key(0)
    apart = [association_learning.loss(model, m, key)[0] for m in (small, large)]
    together = association_learning.loss(model, both, key)[0]
    np.testing.assert_allclose(together, np.mean(apart), rtol=1e-4)


def test_what_cannot_be_learned_from_is_told():
    nothing = moments_of(columns_of([(0, 1, 0.0)], 1), [-1])
    with pytest.raises(UsageError, match="nothing to learn from"):
        association_learning.join([nothing])
    one = moments_of(columns_of([(0, 1, 0.0)], 1), [1])
    wide = moments_of(columns_of([(0, 1, 0.0)], 1, feature=np.ones((1, 3))), [1])
    with pytest.raises(UsageError, match="differ in length"):
        association_learning.join([one, wide])
    with pytest.raises(UsageError, match="location_cap = inf"):
        association_learning.make_model(CostWeights(), 2)


# --------------------------------------------------------------------------- loss


def columns_from(one) -> Columns:
    return Columns(
        one.frame_idx,
        one.segment_id,
        one.category,
        one.location,
        one.feature,
        int(one.frame_idx.max()) + 1,
    )


@pytest.fixture(scope="module")
def data(scene):
    one = scene(0, frames=200)
    return moments_of(columns_from(one), one.truth)


def plain_loss(moments, weights: dict[str, float], scale: np.ndarray) -> float:
    """The loss of one frame in float64, pair by pair, by thousands of iterations."""
    tracks, seen = moments.tracks, moments.seen
    rows = np.flatnonzero(tracks.alive)
    cols = np.flatnonzero(seen.valid)
    cost = np.empty((len(rows), len(cols)))
    for i, k in enumerate(rows):
        for j, n in enumerate(cols):
            gap = np.asarray(tracks.location[k] - seen.locations[n], float)
            cap = weights["location_cap"]
            far = weights["location_weight"] * (gap**2).sum()
            place = np.log1p(np.exp(-cap)) - np.log(np.exp(-far) + np.exp(-cap))
            if not np.isfinite(gap).all():
                place = cap / 2
            looks = scale * (0.999 * tracks.feature[k] - seen.features[n])
            look = np.log1p(weights["beta_v"] * (looks**2).sum())
            kind = tracks.category[k] != seen.categories[n]
            name = tracks.label[k] != seen.labels[n]
            cost[i, j] = (
                place
                + weights["appearance_weight"] * look
                + weights["beta_c"] * kind
                + weights["beta_s"] * name
            )
    kernel = np.exp(weights["alpha"] - cost)
    u = np.ones(len(rows))
    for _ in range(20_000):
        v = 1 / (1 + kernel.T @ u)
        u = 1 / (1 + kernel @ v)
    v = 1 / (1 + kernel.T @ u)
    plan = u[:, None] * kernel * v[None, :]
    total = 0.0
    for j, n in enumerate(cols):
        k = moments.target[n]
        share = v[j] if k < 0 else plan[list(rows).index(k), j]
        if moments.weight[n] > 0:
            total -= moments.weight[n] * np.log(max(share, 1e-6))
    return total / moments.weight.sum()


def test_the_loss_equals_a_plain_one(data):
    model = association_learning.make_model(DEFAULT_WEIGHTS, 32)
    weights = {k: float(getattr(DEFAULT_WEIGHTS, k)) for k in LEARNED}
    rows = np.linspace(5, len(data.weight) - 1, 6).astype(int)
    for row in rows:
        one = jax.tree.map(lambda leaf, r=row: leaf[r : r + 1], data)
        ours, _ = association_learning.loss(model, one, jax.random.key(0))
        frame = jax.tree.map(lambda leaf: leaf[0], one)
        plain = plain_loss(frame, weights, np.ones(32))
        np.testing.assert_allclose(float(ours), plain, rtol=2e-3, atol=2e-4)


def test_the_gradient_is_that_of_the_plain_loss(data):
    """Central differences of the float64 loop, for every weight that is learned."""
    row = int(data.weight.sum(1).argmax())
    one = jax.tree.map(lambda leaf: leaf[row : row + 1], data)
    frame = jax.tree.map(lambda leaf: leaf[0], one)
    model = association_learning.make_model(DEFAULT_WEIGHTS, 32)
    grads = nnx.grad(lambda m: association_learning.loss(m, one, jax.random.key(0))[0])(
        model
    )
    weights = {k: float(getattr(DEFAULT_WEIGHTS, k)) for k in LEARNED}
    step = 1e-3
    found, plain = [], []
    for name in LEARNED:
        low, high = (
            plain_loss(frame, weights | {name: weights[name] * np.exp(s)}, np.ones(32))
            for s in (-step, step)
        )
        plain.append((high - low) / (2 * step))
        found.append(float(grads["log_weights"][name][...]))
    tolerance = 0.02 * np.abs(plain).max()
    np.testing.assert_allclose(found, plain, rtol=0.02, atol=tolerance)
    assert np.abs(plain).max() > 1e-3


def test_the_prior_pulls_back_to_the_start(data):
    one = jax.tree.map(lambda leaf: leaf[:4], data)
    model = association_learning.make_model(DEFAULT_WEIGHTS, 32)
    assert float(model.departure()) == 0.0
    model.log_scale[...] = jnp.full(32, 0.5)
    free, held = (
        float(association_learning.loss(model, one, jax.random.key(0), prior=p)[0])
        for p in (0.0, 1.0)
    )
    np.testing.assert_allclose(held - free, 32 * 0.25, rtol=1e-5)


# ------------------------------------------------------------------------ learning


class Job(NamedTuple):
    """What `fit` needs."""

    base: CostWeights
    dim: int

    def init(self, key):
        return association_learning.make_model(self.base, self.dim)

    def loss(self, model, batch, key):
        return association_learning.loss(model, batch, key)


def learn(folder, data, base: CostWeights, *, devices: int = 1, steps: int = 60):
    def batches(first):
        return itertools.islice(
            association_learning.draw(data, 64, jax.random.key(0)), first, None
        )

    return fit(
        Job(base, data.seen.features.shape[-1]),
        batches,
        optax.adam(0.05),
        make_mesh(devices),
        FitConfig(steps=steps, checkpoint_every=1000),
        folder,
    )


def test_weights_of_any_start_learn_to_name_a_new_scene(tmp_path, scene):
    """From weights by which looks and places say nothing."""
    base = dataclasses.replace(
        DEFAULT_WEIGHTS, location_weight=0.2, appearance_weight=0.1, alpha=4.0
    )
    scenes = [scene(k, frames=240) for k in range(3)]
    parts = [
        association_learning.moments(columns_from(one), one.truth, base, ONLINE)
        for one in scenes[:2]
    ]
    model = learn(tmp_path, association_learning.join(parts), base)
    fresh = columns_from(scenes[2])
    scale = np.asarray(model.feature_scale())
    after = jax.tree.map(np.asarray, model.weights())
    named = [
        association.track_online(columns, weights, ONLINE).track_id
        for columns, weights in (
            (fresh, base),
            (dataclasses.replace(fresh, feature=fresh.feature * scale), after),
        )
    ]
    before, learned = (pairs_right(ids, scenes[2].truth) for ids in named)
    assert learned > before + 0.1


def pairs_right(ids: np.ndarray, truth: np.ndarray) -> float:
    """F1 of the pairs of observations that are called the same."""
    kept = truth > 0
    ids, truth = ids[kept], truth[kept]
    same, right = ids[:, None] == ids[None], truth[:, None] == truth[None]
    return 2 * (same & right).sum() / (same.sum() + right.sum())


def test_a_feature_that_says_nothing_is_turned_down(tmp_path):
    """Two objects of one place: dimension 0 tells them apart, dimension 1 is noise."""
    rng = np.random.default_rng(0)
    rows, look = [], []
    for t in range(200):
        k = (t // 4) % 2
        rows.append((t, 100 + t // 4, 0.0))
        look.append((2.0 * k, 2.0 * rng.normal()))
    truth = [1 + (t // 4) % 2 for t in range(200)]
    found = moments_of(columns_of(rows, 200, feature=look), truth)
    scale = np.asarray(learn(tmp_path, found, DEFAULT_WEIGHTS).feature_scale())
    assert scale[0] > 1.5 * scale[1]


def test_one_device_learns_what_four_learn(tmp_path, data):
    models = [
        learn(tmp_path / str(n), data, DEFAULT_WEIGHTS, devices=n, steps=5)
        for n in (1, 4)
    ]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        *[nnx.to_pure_dict(nnx.state(m)) for m in models],
    )


def test_a_step_lowers_for_every_platform(data):
    batch = jax.tree.map(lambda leaf: leaf[:8], data)
    graph, params = nnx.split(association_learning.make_model(DEFAULT_WEIGHTS, 32))

    def gradient(params, batch):
        def value(params):
            model = nnx.merge(graph, params)
            return association_learning.loss(model, batch, jax.random.key(0))[0]

        return jax.grad(value)(params)

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    platforms = ["cpu", "cuda", "tpu"]
    exported = export.export(jax.jit(gradient), platforms=platforms)(params, shapes)
    assert exported.platforms == tuple(platforms)
