"""The online tracker: the published decisions, absences, lag, constraints, buckets."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy.optimize import linear_sum_assignment

from egojax.errors import UsageError
from egojax.methods import association, track_table, tracker
from egojax.methods.association import Columns
from egojax.methods.tracker import OFFICIAL, TrackerConfig
from egojax.ops.association import CostWeights

QUIET = dataclasses.replace(OFFICIAL, noise_std=0.0)

# Oracle T5 of the spec: location; feature; 2D id; category.
T5 = [
    [((0, 0, 0), (1, 0, 0), 300, 0), ((2, 0, 0), (0, 1, 0), 301, 0),
     ((0, 3, 0), (0, 0, 1), 302, 1)],
    [((0.1, 0, 0), (0.9, 0.1, 0), 303, 0), ((2, 0.1, 0), (0, 1, 0), 301, 0)],
    [((0, 3.2, 0), (0, 0.1, 1), 304, 1), ((2, 6.1, 0), (0, 1, 0), 301, 0)],
    [((0.1, 0.05, 0), (1, 0, 0), 305, 2), ((0.12, 0, 0), (0.95, 0, 0), 303, 0)],
]  # fmt: skip


def columns_of(frames: list) -> Columns:
    rows = [(t, *row) for t, frame in enumerate(frames) for row in frame]
    t, location, feature, segment, category = zip(*rows, strict=True)
    return Columns(
        frame_idx=np.array(t, np.int32),
        segment_id=np.array(segment, np.int64),
        category=np.array(category, np.int32),
        location=np.array(location, np.float32).reshape(-1, 3),
        feature=np.array(feature, np.float32).reshape(len(rows), -1),
        num_frames=len(frames),
    )


def random_clip(seed: int, num_frames: int = 40, num_objects: int = 6) -> Columns:
    """Objects of two categories that wander a little and come and go."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(-3, 3, (num_objects, 3))
    looks = rng.normal(size=(num_objects, 4)) * 2
    ids = 1000 + np.arange(num_objects)
    frames = []
    for _ in range(num_frames):
        at = at + rng.normal(scale=0.05, size=at.shape)
        fresh = rng.random(num_objects) < 0.1
        ids = np.where(fresh, ids.max() + 1 + np.arange(num_objects), ids)
        seen = np.flatnonzero(rng.random(num_objects) < 0.7)
        noise = rng.normal(scale=0.3, size=looks.shape)
        frames.append(
            [(at[k], looks[k] + noise[k], int(ids[k]), int(k % 2)) for k in seen]
        )
    return columns_of(frames)


def published(columns: Columns, weights: CostWeights, gate: str) -> np.ndarray:
    """The published tracker as plain loops in float64 (our order of observations)."""
    tracks: list[dict] = []
    out = np.zeros(len(columns.frame_idx), int)
    for t in range(columns.num_frames):
        rows = np.flatnonzero(columns.frame_idx == t)
        cost = np.array([[pair(i, columns, n, weights) for n in rows] for i in tracks])
        cost = cost.reshape(len(tracks), len(rows))
        gated = np.minimum(cost, weights.alpha) if gate == "before" else cost
        pairs = (
            dict(zip(*linear_sum_assignment(gated.T), strict=True)) if tracks else {}
        )
        for k, n in enumerate(rows):
            found = pairs.get(k)
            if found is None or cost[found, k] > weights.alpha:
                tracks.append({"e": [], "labels": [], "categories": []})
                found = len(tracks) - 1
            absorb(tracks[found], columns, n)
            out[n] = found
    return out


def pair(track: dict, columns: Columns, n: int, weights: CostWeights) -> float:
    feature = columns.feature[n].astype(float)
    gap = ((track["at"] - columns.location[n].astype(float)) ** 2).sum()
    looks = ((weights.track_shrink * track["e"][-1] - feature) ** 2).sum()
    return (
        np.log(weights.beta_l) + gap + np.log(1 + weights.beta_v * looks)
        + weights.beta_c * (mode(track["categories"]) != columns.category[n])
        + weights.beta_s * (mode(track["labels"][-100:]) != columns.segment_id[n])
    )  # fmt: skip


def mode(values: list) -> int:
    kinds, counts = np.unique(values, return_counts=True)
    return int(kinds[counts.argmax()])


def absorb(track: dict, columns: Columns, n: int) -> None:
    feature = columns.feature[n].astype(float)
    track["e"].append(np.mean([*track["e"][-100:], feature], axis=0))
    track["at"] = columns.location[n].astype(float)
    track["labels"].append(int(columns.segment_id[n]))
    track["categories"].append(int(columns.category[n]))


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return (association.by_appearance(a) == association.by_appearance(b)).all()


@pytest.mark.parametrize(
    ("gate", "alpha", "expected"),
    [
        ("after", 30.0, [0, 1, 2, 0, 1, 2, 3, 4, 1]),  # The theft of 2.8.4.
        ("before", 30.0, [0, 1, 2, 0, 1, 2, 3, 4, 0]),
        ("after", 10.0, [0, 1, 2, 3, 1, 4, 5, 6, 3]),
    ],
)
def test_published_decisions(gate, alpha, expected):
    config = dataclasses.replace(QUIET, gate=gate)
    found = association.track_online(
        columns_of(T5), CostWeights(alpha=alpha), config, precise=True
    )
    assert same_partition(found.track_id, np.array(expected))


@pytest.mark.parametrize("gate", ["before", "after"])
@pytest.mark.parametrize("seed", range(4))
def test_the_published_tracker_is_followed_on_random_clips(seed, gate):
    columns = random_clip(seed)
    config = dataclasses.replace(QUIET, gate=gate)
    weights = CostWeights(alpha=14.0)
    found = association.track_online(columns, weights, config, precise=True)
    assert same_partition(found.track_id, published(columns, weights, gate))


def test_published_features_are_means_of_means_also_beyond_the_window():
    """Oracle T4, and the loop for k > 101."""
    rng = np.random.default_rng(0)
    raw = [np.array(r, float) for r in ((1, 0), (0, 1), (0, 1), (3, 3))]
    raw += list(rng.normal(size=(130, 2)))
    expected: list[np.ndarray] = []
    for r in raw:
        expected.append(np.mean([*expected[-100:], r], axis=0))
    frames = [[((0, 0, 0), r, 7, 0)] for r in raw]
    columns = columns_of(frames)
    _, padded = association.pad(columns, np.full(len(raw), -1, np.int32))
    state = tracker.start(8, 2, 1, 0, QUIET)
    state, _ = tracker.track_frames(
        state, padded, CostWeights(alpha=1e6), jnp.zeros((0, 0), bool),
        jax.random.key(0), config=QUIET,
    )  # fmt: skip
    np.testing.assert_allclose(expected[3], [1.25, 1.0])
    np.testing.assert_allclose(state.feature[0], expected[-1], rtol=1e-4, atol=1e-5)
    assert int(state.count) == 1


def comings_and_goings(gap: int = 30, moved: float = 0.0) -> list:
    """Two look-alikes half a metre apart; one is away for a while, under a new id."""

    def see(x, key, near=0.0):
        return ((x + near, 0, 1), (1, 0), key, 0)

    both = [[see(0.0, 11), see(0.5, 12)] for _ in range(10)]
    alone = [[see(0.0, 11)] for _ in range(gap)]
    back = [[see(0.0, 11), see(0.5, 99, moved)] for _ in range(10)]
    return both + alone + back


@pytest.mark.parametrize("lag", [0, 4])
@pytest.mark.parametrize("solver", ["sinkhorn", "exact"])
def test_identity_survives_absence_under_a_new_2d_id(solver, lag):
    columns = columns_of(comings_and_goings())
    config = TrackerConfig(solver=solver, lag=lag)
    found = association.track_online(columns, association.DEFAULT_WEIGHTS, config)
    names = {int(s): set(found.track_id[columns.segment_id == s].tolist())
             for s in (11, 12, 99)}  # fmt: skip
    assert names[99] == names[12] and names[99] != names[11]
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()


def test_an_object_elsewhere_is_a_new_one_unless_told_otherwise():
    columns = columns_of(comings_and_goings(moved=2.0))
    weights = dataclasses.replace(association.DEFAULT_WEIGHTS, location_cap=20.0)
    config = TrackerConfig()
    found = association.track_online(columns, weights, config)
    new = found.track_id[columns.segment_id == 99]
    assert not set(new) & set(found.track_id[columns.segment_id == 12])
    told = association.track_online(
        columns, weights, config, must_link=[((0, 12), (40, 99))]
    )
    assert told.track_id[-1] == told.track_id[1]


def test_what_must_not_be_the_same_is_not():
    columns = columns_of(comings_and_goings())
    pair = ((3, 12), (40, 99))
    found = association.track_online(
        columns, association.DEFAULT_WEIGHTS, TrackerConfig(), cannot_link=[pair]
    )
    assert found.track_id[-1] != found.track_id[1]


def test_what_was_merged_keeps_a_persons_word():
    """A set that came with a provisional track is held by the track it became."""
    frames = comings_and_goings(gap=20)
    frames += [[((0, 0, 1), (1, 0), 11, 0)]] * 8
    frames += [[((0, 0, 1), (1, 0), 11, 0), ((3, 0, 1), (1, 0), 55, 0)]] * 3
    columns = columns_of(frames)
    found = association.track_online(
        columns, association.DEFAULT_WEIGHTS, TrackerConfig(lag=4),
        must_link=[((31, 99), (48, 55))],
    )  # fmt: skip
    assert found.track_id[-1] == found.track_id[1] != found.track_id[0]


def test_contradictions_and_strangers_are_told():
    columns = columns_of(comings_and_goings())
    run = lambda **kw: association.track_online(  # noqa: E731
        columns, association.DEFAULT_WEIGHTS, TrackerConfig(), **kw
    )
    pair = ((0, 11), (40, 99))
    with pytest.raises(UsageError, match="contradict"):
        run(must_link=[pair], cannot_link=[pair])
    with pytest.raises(UsageError, match="frame 0, 2D id 5: no such observation"):
        run(must_link=[((0, 5), (40, 99))])
    with pytest.raises(UsageError, match="two things"):
        run(must_link=[((0, 11), (0, 12))])


def test_the_table_grows_and_gives_what_a_large_one_gives(monkeypatch):
    columns = random_clip(0, num_frames=60, num_objects=12)
    weights = CostWeights(alpha=1.0)  # Nearly everything is a new track.
    large = association.track_online(columns, weights, TrackerConfig())
    monkeypatch.setattr(association, "BUCKETS", (8, 32, 128, 512))
    grown = association.track_online(columns, weights, TrackerConfig())
    assert large.track_id.max() > 32
    np.testing.assert_array_equal(grown.track_id, large.track_id)


def test_lag_names_all_frames_of_a_returning_object_alike():
    columns = columns_of(comings_and_goings(gap=20))
    config = TrackerConfig(lag=4)
    found = association.track_online(columns, association.DEFAULT_WEIGHTS, config)
    assert len(np.unique(found.track_id)) == 2


def test_many_weights_at_once_equal_one_after_the_other():
    columns = random_clip(1)
    _, padded = association.pad(columns, np.full(len(columns.frame_idx), -1, np.int32))
    config = TrackerConfig(solver="exact")
    state = tracker.start(64, 4, 2, 0, config)
    none = jnp.zeros((0, 0), bool)

    def run(alpha):
        weights = dataclasses.replace(association.DEFAULT_WEIGHTS, alpha=alpha)
        key = jax.random.key(0)
        out = tracker.track_frames(state, padded, weights, none, key, config=config)
        return out[1].track

    alphas = jnp.array([2.0, 6.0, 20.0])
    together = jax.vmap(run)(alphas)
    for row, alpha in zip(together, alphas, strict=True):
        np.testing.assert_array_equal(row, run(alpha))


def test_an_empty_clip_and_empty_frames_are_fine():
    columns = columns_of([[], T5[0], [], T5[1]])
    found = association.track_online(columns, CostWeights(), TrackerConfig())
    assert len(found.track_id) == 5
    empty = columns_of([T5[0]])
    empty = dataclasses.replace(
        empty, **{f.name: getattr(empty, f.name)[:0]
                  for f in dataclasses.fields(empty) if f.name != "num_frames"}
    )  # fmt: skip
    assert len(association.track_online(empty, CostWeights(), TrackerConfig())[0]) == 0


def padded_clip(seed: int = 1, **changes) -> tracker.Observations:
    columns = random_clip(seed, **changes)
    return association.pad(columns, np.full(len(columns.frame_idx), -1, np.int32))[1]


NONE = jnp.zeros((0, 0), bool)


@pytest.mark.parametrize("config", [TrackerConfig(lag=3), TrackerConfig(), QUIET])
def test_frame_by_frame_equals_a_scan_over_the_block(config):
    block = jax.tree.map(lambda leaf: leaf[:30], padded_clip())
    weights = jax.tree.map(jnp.float32, association.DEFAULT_WEIGHTS)
    state = tracker.start(64, 4, 2, 0, config)
    scanned, links = tracker.track_frames(state, block, weights, NONE, config=config)
    one = jax.jit(tracker.step, static_argnames="config")
    for t in range(30):
        frame = jax.tree.map(lambda leaf, t=t: leaf[t], block)
        state, out = one(state, frame, weights, NONE, config=config)
        np.testing.assert_array_equal(out.track, links.track[t])
    np.testing.assert_array_equal(state.alias, scanned.alias)


def test_without_backfill_no_answer_depends_on_the_future():
    frames = comings_and_goings(gap=20)
    run = lambda some: association.track_online(  # noqa: E731
        columns_of(some), association.DEFAULT_WEIGHTS, TrackerConfig(lag=4),
        backfill=False,
    ).track_id  # fmt: skip
    whole = run(frames)
    for length in (31, 33, 36):
        part = run(frames[:length])
        np.testing.assert_array_equal(part, whole[: len(part)])
    assert whole[-1] == whole[1]  # It came back, ...
    assert len(np.unique(whole)) == 3  # ... and was somebody else for four frames.


def test_the_compared_2d_id_is_the_mode_of_the_last_hundred():
    """Also when the window has been left behind; ties go to the smallest."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 5, 90), rng.integers(1, 6, 90)) + 300
    frames = [[((0, 0, 0), (1, 0), int(label), 0)] for label in labels]
    block = association.pad(columns_of(frames), np.full(len(labels), -1, np.int32))[1]
    block = jax.tree.map(lambda leaf: leaf[: len(labels)], block)
    weights = jax.tree.map(jnp.float32, CostWeights(alpha=1e6))

    def one(state, obs):
        state, _ = tracker.step(state, obs, weights, NONE, QUIET)
        return state, state.label[0]

    start = tracker.start(8, 2, 1, 0, QUIET)
    found = jax.jit(lambda b: jax.lax.scan(one, start, b)[1])(block)
    expected = [mode(labels[: t + 1][-100:]) for t in range(len(labels))]
    np.testing.assert_array_equal(np.unique(labels)[found], expected)


@pytest.mark.parametrize("precise", [False, True])
def test_a_sweep_over_four_devices_equals_one_device(precise):
    """Weights sharded over "data"; the published form in scoped float64 as well."""
    block, config = padded_clip(), QUIET if precise else TrackerConfig()
    with jax.enable_x64(precise):
        dtype = np.float64 if precise else np.float32
        base = jax.tree.map(dtype, CostWeights())
        block = dataclasses.replace(
            block, locations=block.locations.astype(dtype),
            features=block.features.astype(dtype),
        )  # fmt: skip
        state = tracker.start(64, 4, 2, 0, config)

        def run(alpha):
            weights = dataclasses.replace(base, alpha=alpha)
            out = tracker.track_frames(state, block, weights, NONE, config=config)
            return out[1].track

        alphas = np.array([2, 6, 9, 11, 12, 13, 14, 40], dtype)
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        split = NamedSharding(mesh, PartitionSpec("data"))
        sweep = jax.jit(jax.vmap(run))
        four = sweep(jax.device_put(alphas, split))
        assert len(four.sharding.device_set) == 4
        np.testing.assert_array_equal(four, sweep(alphas))
        np.testing.assert_array_equal(four[3], run(alphas[3]))


@pytest.mark.parametrize("config", [TrackerConfig(lag=2), tracker.OFFICIAL])
def test_the_tracker_lowers_for_every_platform(config):
    block = jax.tree.map(lambda leaf: jnp.asarray(leaf[:4]), padded_clip())
    state = tracker.start(16, 4, 2, 0, config)
    weights = jax.tree.map(jnp.float32, CostWeights())
    call = jax.jit(
        lambda s, b, w: tracker.track_frames(
            s, b, w, NONE, jax.random.key(0), config=config
        )
    )
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        (state, block, weights),
    )
    exported = export.export(call, platforms=["cpu", "cuda", "tpu"])(*shapes)
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_constants_on_both_sides_and_the_order_in_a_frame_change_nothing():
    """Oracle T13: beta_l and alpha shifted alike; observations of a frame permuted."""
    columns, weights = random_clip(2), CostWeights(alpha=14.0)
    config = dataclasses.replace(QUIET, gate="before")
    run = lambda c, w: association.track_online(c, w, config, precise=True)  # noqa: E731
    base = run(columns, weights).track_id
    shifted = CostWeights(alpha=14.0 + np.log(3.0), beta_l=30.0)
    np.testing.assert_array_equal(run(columns, shifted).track_id, base)
    order = np.lexsort((-columns.segment_id, columns.frame_idx))
    turned = dataclasses.replace(
        columns, **{f.name: getattr(columns, f.name)[order]
                    for f in dataclasses.fields(columns) if f.name != "num_frames"}
    )  # fmt: skip
    assert same_partition(run(turned, weights).track_id, base[order])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (dict(gate="after"), "gate=after goes with solver=exact"),
        (dict(lag=2, label_memory="mode"), "lag=2 goes with label_memory=last"),
        (dict(lag=2, appearance_update="recursive"), "lag=2 goes with"),
    ],
)
def test_switches_that_do_not_go_together_are_told(changes, text):
    with pytest.raises(UsageError, match=text):
        TrackerConfig(**changes)


def test_merged_tracks_make_room_for_others(monkeypatch):
    """Blocks of 8 frames in a small table name things as one large block does."""
    frames = comings_and_goings(gap=20)
    for turn in range(12):
        frames += [
            [((0.5, 0, 1), (1, 0), 200 + turn, 0)] if t < 6 else [] for t in range(8)
        ]
    columns, config = columns_of(frames), TrackerConfig(lag=3)
    run = lambda: association.track_online(  # noqa: E731
        columns, association.DEFAULT_WEIGHTS, config
    )
    whole = run()
    assert len(np.unique(whole.track_id)) == 2
    monkeypatch.setattr(association, "BLOCK", 8)
    monkeypatch.setattr(association, "BUCKETS", (8,))
    grown = []
    monkeypatch.setattr(association.track_table, "grow", lambda *_: grown.append(1))
    for ours, theirs in zip(run(), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert not grown


def test_the_same_seed_gives_the_same_noise():
    columns = random_clip(3, num_frames=30, num_objects=8)
    weights = CostWeights(alpha=2.0)

    def run():
        config = tracker.OFFICIAL
        return association.track_online(columns, weights, config, precise=True, seed=5)

    np.testing.assert_array_equal(run().track_id, run().track_id)


@pytest.mark.parametrize("update", ["mean", "ema"])
def test_the_running_mean_has_the_memory_that_is_asked_for(update):
    """Both by hand for gamma = 3: shares 1, 1/2, 1/3, 1/3 and 1, 1/3, 1/3, 1/3."""
    raw = np.random.default_rng(2).normal(size=(6, 2))
    expected = raw[0]
    for k, r in enumerate(raw[1:], start=2):
        share = 1 / min(k, 3) if update == "mean" else 1 / 3
        expected = expected + share * (r - expected)
    columns = columns_of([[((0, 0, 0), r, 7, 0)] for r in raw])
    config = TrackerConfig(appearance_update=update, gamma=3)
    _, padded = association.pad(columns, np.full(len(raw), -1, np.int32))
    state = tracker.start(8, 2, 1, 0, config)
    state, _ = tracker.track_frames(
        state, padded, CostWeights(alpha=1e6), jnp.zeros((0, 0), bool), config=config
    )
    np.testing.assert_allclose(state.feature[0], expected, rtol=1e-5)


def test_of_equally_frequent_categories_the_smallest_counts():
    counts = jnp.array([[0, 2, 1, 2], [0, 0, 0, 0], [3, 3, 0, 0]])
    assert track_table.most_frequent(counts).tolist() == [1, -1, 0]
