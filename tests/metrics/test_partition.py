"""Partitions and IoU of motion segmentation: official numbers, definitions."""

import itertools
import math

import numpy as np
import pytest

from egojax import metrics
from egojax.errors import UsageError

SLOTS = ("slots2", "slots4", "slots3_empty_gt")
PARTITIONS = ("mixed", "more_pred", "one_cluster_both", "identical")


@pytest.mark.parametrize("index", range(3), ids=SLOTS)
def test_every_official_iou_is_reproduced(index, oracle, from_runs):
    case = oracle("motion_seg")["iou"][index]
    assert case["name"] == SLOTS[index]
    given = case["inputs"]
    soft = np.array(given["soft_masks"])
    found = metrics.mask_ious(from_runs(given["gt"]) > 0, soft, given["threshold"])
    np.testing.assert_allclose(found, case["outputs"]["iou_per_slot"], atol=1e-6)
    assert found.max() == pytest.approx(case["outputs"]["best"], abs=1e-6)


@pytest.mark.parametrize("index", range(4), ids=PARTITIONS)
def test_every_official_rand_index_is_reproduced(index, oracle):
    case = oracle("motion_seg")["ari"][index]
    assert case["name"] == PARTITIONS[index]
    labels = [np.array(case["inputs"][key]) for key in ("true_labels", "pred_labels")]
    found = metrics.PartitionScores.of(*labels).compute()
    out = case["outputs"]
    assert found["ARI"] == pytest.approx(out["ari"], abs=1e-6)
    assert found["FG-ARI"] == pytest.approx(
        out["fg_ari_background_is_label_0"], abs=1e-6
    )


def test_the_numbers_of_the_specification():
    """Spec 10.6 of LRTL."""
    truth = np.zeros((4, 6), bool)
    truth[1:3, 1:4] = True
    soft = np.zeros((4, 6))
    soft[1:3, 2:5], soft[0, 0] = 0.7, 0.5
    found = metrics.mask_ious(truth, np.stack([soft, 1 - soft]))
    np.testing.assert_allclose(found, [0.5, 0.0952381], atol=1e-7)
    np.testing.assert_array_equal(
        metrics.mask_ious(np.zeros((4, 6)), np.stack([soft, np.zeros((4, 6))])), [0, 0]
    )
    pred = np.array([0, 0, 1, 1, 2, 2, 2, 0, 1, 3])
    true = np.array([0, 0, 1, 1, 1, 2, 2, 0, 0, 2])
    found = metrics.PartitionScores.of(true, pred).compute()
    assert found["ARI"] == pytest.approx(0.320987654, abs=1e-9)
    assert found["FG-ARI"] == pytest.approx(0.117647059, abs=1e-9)


def by_pairs(true, pred):
    """ARI by definition: a look at every pair of points."""
    both = same_true = same_pred = every = 0
    for i, j in itertools.combinations(range(len(true)), 2):
        a, b = true[i] == true[j], pred[i] == pred[j]
        both, every = both + (a and b), every + 1
        same_true, same_pred = same_true + a, same_pred + b
    chance = same_true * same_pred / max(every, 1)
    room = (same_true + same_pred) / 2 - chance
    return (both - chance) / room if room > 0 else 1.0


@pytest.mark.parametrize("seed", range(6))
def test_the_index_is_that_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    true, pred = rng.integers(0, 1 + seed % 4, 25), rng.integers(0, 4, 25)
    found = metrics.PartitionScores.of(true, pred).compute()
    assert found["ARI"] == pytest.approx(by_pairs(true, pred), abs=1e-12)
    kept = true != 0
    want = by_pairs(true[kept], pred[kept])
    assert found["FG-ARI"] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_names_and_sides_do_not_matter_and_frames_add_up(seed):
    rng = np.random.default_rng(seed)
    true, pred = rng.integers(0, 3, (4, 5, 6)), rng.integers(0, 5, (4, 5, 6))
    scores = metrics.PartitionScores.empty()
    for frame in zip(true, pred, strict=True):
        scores = scores.update(*frame)
    whole = metrics.PartitionScores.of(true.ravel(), pred.ravel())
    np.testing.assert_array_equal(scores.counts, whole.counts)
    assert scores.compute() == whole.compute()
    names = rng.permutation(1000)
    other = metrics.PartitionScores.of(true, names[pred])
    assert other.compute() == pytest.approx(whole.compute())
    turned = metrics.PartitionScores.of(pred, true).compute()
    assert turned["ARI"] == pytest.approx(whole.compute()["ARI"])


def test_frames_with_other_labels_are_merged_by_name():
    one = metrics.PartitionScores.of(np.array([1, 1, 5]), np.array([0, 9, 9]))
    two = metrics.PartitionScores.of(np.array([3, 5]), np.array([9, 2]))
    both = one.merge(two)
    np.testing.assert_array_equal(both.true_ids, [1, 3, 5])
    np.testing.assert_array_equal(both.pred_ids, [0, 2, 9])
    np.testing.assert_array_equal(both.counts, [[1, 0, 1], [0, 0, 1], [0, 1, 1]])


def test_nothing_and_long_clips_have_an_index():
    assert metrics.PartitionScores.empty().compute() == {"ARI": 1.0, "FG-ARI": 1.0}
    # Products of pairs of so many pixels do not fit 64 bit.
    assert metrics.rand_index(np.array([[10**9, 0], [0, 10**9]])) == 1.0
    half = np.array([[10**9, 10**9], [10**9, 10**9]])
    assert metrics.rand_index(half) == pytest.approx(0.0, abs=1e-8)


def test_masks_of_other_sizes_are_an_error():
    with pytest.raises(UsageError, match=r"masks \(1, 3, 4\) for a true mask"):
        metrics.mask_ious(np.zeros((4, 3)), np.zeros((1, 3, 4)))
    with pytest.raises(UsageError, match="differ in size"):
        metrics.PartitionScores.of(np.zeros(3, int), np.zeros(4, int))


def two_sequences():
    scores = metrics.MotionScores()
    scores = scores.update("a", range(5), [0.1, 0.2, 0.3, 0.4, 0.9])
    return scores.update("b", (7, 8, 9), [0.5, math.nan, 0.7])


@pytest.mark.parametrize(
    ("protocol", "mean", "frames"),
    [
        # Frames 0, 1 and the last go; sequence means 0.35 and 0.5.
        ("lrtl-davis", 0.425, 3),
        # The first and the last go; nothing is left of b.
        ("davis2016", 0.3, 3),
        ("lrtl-frames", (0.1 + 0.2 + 0.3 + 0.4 + 0.5) / 5, 5),
        ("frames", (1.9 + 1.2) / 7, 7),
    ],
)
def test_each_protocol_counts_its_frames(protocol, mean, frames):
    found = two_sequences().compute(protocol)
    assert found["motion_IoU"] == pytest.approx(mean)
    assert found["frames"] == frames
    parts = two_sequences().per_sequence(protocol)
    assert list(parts) == ["a", "b"]
    if protocol == "lrtl-davis":
        assert parts == pytest.approx({"a": 0.35, "b": 0.5})
    if protocol == "davis2016":
        assert math.isnan(parts["b"])


def test_a_sequence_may_come_in_parts_and_in_any_order():
    a, b = (metrics.MotionScores((row,)) for row in two_sequences().series)
    assert b.merge(a).compute() == pytest.approx(two_sequences().compute())
    twice = a.merge(a).per_sequence("frames")
    assert twice == pytest.approx({"a": 0.38})


def test_no_frame_has_no_mean_and_an_unknown_protocol_is_an_error():
    for protocol in metrics.MOTION_PROTOCOLS:
        found = metrics.MotionScores().update("a", [], []).compute(protocol)
        assert math.isnan(found["motion_IoU"]) and found["frames"] == 0
    with pytest.raises(ValueError, match="protocol 'davis'; there are"):
        metrics.MotionScores().compute("davis")
    with pytest.raises(UsageError, match="a: 1 values of 2 frames"):
        metrics.MotionScores().update("a", (1, 2), [0.5])


def test_tables_show_these_numbers_times_100():
    assert all(map(metrics.is_percent, ("ARI", "FG-ARI", "motion_IoU")))
    assert not metrics.is_percent("frames")
