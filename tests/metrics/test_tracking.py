"""Track metrics: the official numbers, a plain second implementation, properties."""

import json
import pathlib

import jax
import numpy as np
import pytest

from egojax import metrics
from egojax.errors import UsageError
from egojax.metrics.recorder import TrackRecorder

ORACLE = json.loads(
    (pathlib.Path(__file__).parents[1] / "oracles" / "tracking.json").read_text()
)
CASES = {case["name"]: case for case in ORACLE["cases"]}


def scores_of(case):
    """The scores of one case of the oracle."""
    given = case["inputs"]
    frames = [
        (t, p, np.array(s, float).reshape(len(t), len(p)))
        for t, p, s in zip(
            given["gt_ids"], given["tracker_ids"], given["similarity"], strict=True
        )
    ]
    return metrics.TrackingScores.of(
        frames, name=case["name"], threshold=given["clear_and_identity_threshold"]
    )


def flat(outputs):
    """The oracle's fields under our names: arrays over alpha get a suffix."""
    return {
        f"{name}_by_alpha" if isinstance(value, list) else name: value
        for name, value in outputs.items()
    }


def random_sequence(seed, frames=40, ids=6, noise=0.3):
    """Boxes that drift, with misses, false alarms and identity changes."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 60, (ids, 2))
    rename = np.arange(ids) + 10
    out = []
    for _ in range(frames):
        place += rng.normal(0, 2, place.shape)
        if rng.random() < 0.15:
            rename[rng.integers(ids)] = rng.integers(100, 200)
        seen, found = rng.random(ids) > 0.2, rng.random(ids) > 0.25
        names, first = np.unique(rename[found], return_index=True)
        true = np.hstack([place[seen], place[seen] + 20])
        pred = place[found][first] + rng.normal(0, 20 * noise, (len(first), 2))
        similarity = metrics.box_iou(true, np.hstack([pred, pred + 20]))
        out.append((np.flatnonzero(seen), names, similarity))
    return out


@pytest.mark.parametrize("name", CASES)
def test_every_case_of_the_official_tool_is_reproduced(name, agrees):
    computed = scores_of(CASES[name]).compute()
    for family, outputs in CASES[name]["outputs"].items():
        agrees(computed, flat(outputs))
        if family == "Count":
            assert {k: computed[k] for k in outputs} == outputs


@pytest.mark.parametrize("index", range(len(ORACLE["combined"])))
def test_every_official_combination_is_reproduced(index, agrees):
    entry = ORACLE["combined"][index]
    scores = [scores_of(CASES[name]) for name in entry["of"]]
    if entry["kind"] == "combine_classes_class_averaged":
        computed = metrics.average_classes(
            scores, ignore_empty_classes=entry["ignore_empty_classes"]
        )
    else:
        computed = metrics.combine_sequences(scores).compute()
    agrees(computed, flat(entry["outputs"]))


@pytest.mark.parametrize("seed", range(4))
def test_matching_by_elimination_is_as_good_as_the_solver(seed):
    from scipy import optimize

    rng = np.random.default_rng(seed)
    for _ in range(60):
        shape = rng.integers(1, 9, 2)
        table = rng.random(shape) * (rng.random(shape) < 0.6)
        if seed == 3:  # Many ties.
            table = np.round(table * 4)
        r, c = np.nonzero(table)
        chosen = metrics.best_matching(np.zeros_like(r), r, c, table[r, c])
        assert len(set(r[chosen])) == len(set(c[chosen])) == chosen.sum()
        rows, cols = optimize.linear_sum_assignment(table, maximize=True)
        np.testing.assert_allclose(
            table[r, c][chosen].sum(), table[rows, cols].sum(), rtol=1e-12
        )


@pytest.mark.parametrize("seed", range(3))
def test_names_of_ids_and_order_within_a_frame_do_not_matter(seed):
    frames = random_sequence(seed)
    rng = np.random.default_rng(seed)
    mixed = []
    for true, pred, similarity in frames:
        a, b = rng.permutation(len(true)), rng.permutation(len(pred))
        mixed.append((7 * true[a] + 3, 1000 - pred[b], similarity[np.ix_(a, b)]))
    one = metrics.TrackingScores.of(frames).compute()
    other = metrics.TrackingScores.of(mixed).compute()
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_swapping_the_two_sides_swaps_recall_and_precision(seed):
    frames = random_sequence(seed)
    one = metrics.TrackingScores.of(frames).compute()
    other = metrics.TrackingScores.of([(p, t, s.T) for t, p, s in frames]).compute()
    for a, b in (("DetRe", "DetPr"), ("AssRe", "AssPr"), ("IDR", "IDP")):
        np.testing.assert_allclose([one[a], one[b]], [other[b], other[a]], atol=1e-12)
    for name in ("HOTA", "IDF1", "AssA", "DetA", "ATA", "SFDA"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-12)


def test_a_sequence_counted_twice_has_the_same_ratios():
    once = metrics.TrackingScores.of(random_sequence(0))
    twice = once.update(random_sequence(0)).compute()
    for name in ("HOTA", "AssA", "LocA", "MOTA", "IDF1", "SFDA"):
        np.testing.assert_allclose(twice[name], once.compute()[name], atol=1e-12)


def test_a_track_that_never_matches_costs_precision_and_not_association_recall():
    frames = random_sequence(0)
    extra = [
        (t, np.append(p, 999), np.hstack([s, np.zeros((len(t), 1))]))
        for t, p, s in frames
    ]
    before = metrics.TrackingScores.of(frames).compute()
    after = metrics.TrackingScores.of(extra).compute()
    assert after["DetPr"] < before["DetPr"]
    assert after["AssRe"] == before["AssRe"]


def test_a_repeated_id_is_an_error_that_names_sequence_frame_and_id():
    recorder = TrackRecorder("kitchen")
    recorder.add(([1], [2], [[0.5]]))
    with pytest.raises(UsageError, match="kitchen, frame 1: predicted id 4"):
        recorder.add(([1], [4, 4], [[0.5, 0.1]]))


def test_a_similarity_of_the_wrong_shape_is_an_error():
    with pytest.raises(UsageError, match=r"frame 0: similarity is \(1, 1\)"):
        metrics.TrackingScores.of([([1, 2], [3], [[0.5]])])


def test_scores_are_a_pytree_of_counts():
    scores = metrics.TrackingScores.of(random_sequence(1))
    doubled = jax.tree.map(lambda leaf: 2 * leaf, scores)
    assert doubled.compute()["IDTP"] == 2 * scores.compute()["IDTP"]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([([1, 2], [], [])], {"HOTA": 0, "LocA": 1, "MOTA": 0, "MLR": 1, "ML": 2}),
        ([([], [5], [])], {"HOTA": 0, "LocA": 1, "MOTA": 0, "MLR": 1, "IDF1": 0}),
        ([([], [], [])], {"DetA": 0, "AssA": 0, "LocA": 1, "MOTP": 0, "IDR": 0}),
        ([], {"HOTA": 0, "LocA": 1, "ATA": np.nan, "SFDA": np.nan, "IDP": 0}),
    ],
)
def test_empty_sides_give_the_fixed_values(frames, expected, agrees):
    agrees(metrics.TrackingScores.of(frames).compute(), expected)


def test_a_long_sequence_stays_small():
    """20,000 frames of 30 objects, scaled down: bytes a frame."""
    recorder = TrackRecorder()
    ids = np.arange(30)
    for _ in range(50):
        recorder.add((ids, ids, np.eye(30) + 0.1 * np.eye(30, k=1)))
    columns = vars(recorder.pairs()).values()
    size = sum(c.nbytes for c in columns if isinstance(c, np.ndarray))
    assert size / 50 < 3000


def test_clear_keeps_last_frames_match_whatever_is_closer_now():
    """Track 1 held the object; track 2 is closer now, both above the threshold."""
    truth = np.array([1])
    frames = [
        (truth, np.array([1, 2]), np.array([[0.9, 0.0]])),
        (truth, np.array([1, 2]), np.array([[0.55, 0.95]])),
    ]
    recorder = TrackRecorder("one")
    for frame in frames:
        recorder.add(frame)
    assert metrics.TrackingScores.of(recorder).compute()["IDSW"] == 0
