"""Overlaps of one frame: official numbers, brute force, two forms of the same masks."""

import numpy as np
import pytest

from egojax import metrics
from egojax.errors import UsageError

FORMS = {"xywh": "xywh", "x0y0x1y1": "xyxy"}
BIG_IDS = np.array([0, 65535, 70001, 2**24 - 1, 9_000_017, 2**31 - 1])


def random_maps(seed, size=(40, 50), ids=BIG_IDS):
    """Two blocky label maps with large sparse ids."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, len(ids), (2, size[0] // 5, size[1] // 5))
    return ids[small].repeat(5, 1).repeat(5, 2)


@pytest.mark.parametrize("index", [0, 1])
def test_official_boxes_are_reproduced_in_both_forms(index, oracle):
    case = oracle("iou")["cases"][index]
    a, b = case["inputs"]["a"], case["inputs"]["b"]
    form = FORMS[case["inputs"]["format"]]
    iou = metrics.box_iou(a, b, form=form)
    np.testing.assert_allclose(iou, case["outputs"]["iou"], atol=1e-12)
    if "ioa_over_a" in case["outputs"]:
        ioa = metrics.box_ioa(a, b, form=form)
        np.testing.assert_allclose(ioa, case["outputs"]["ioa_over_a"], atol=1e-12)


def test_official_label_map_masks_are_reproduced(oracle, from_runs):
    case = oracle("iou")["cases"][2]
    a, b = (from_runs(case["inputs"][k]) for k in ("a_labels", "b_labels"))
    overlap = metrics.frame_overlap(a, b)
    assert overlap.true_ids.tolist() == case["inputs"]["a_ids"]
    assert overlap.pred_ids.tolist() == case["inputs"]["b_ids"]
    expected = case["outputs"]
    np.testing.assert_allclose(overlap.similarity(), expected["iou"], atol=1e-12)
    ioa = overlap.intersection_over_area()
    np.testing.assert_allclose(ioa, expected["ioa_over_a"], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
@pytest.mark.parametrize("seed", range(3))
def test_the_joint_histogram_equals_masks_one_by_one(seed, dtype):
    ids = np.arange(6) if np.iinfo(dtype).max < 2**31 else BIG_IDS
    truth, pred = random_maps(seed, ids=ids).astype(dtype)
    overlap = metrics.frame_overlap(truth, pred[:, ::-1])
    pred = pred[:, ::-1]
    np.testing.assert_array_equal(overlap.true_ids, np.setdiff1d(truth, [0]))
    np.testing.assert_array_equal(overlap.pred_ids, np.setdiff1d(pred, [0]))
    assert overlap.true_ids.dtype == overlap.intersection.dtype == np.int64
    for r, i in enumerate(overlap.true_ids):
        assert overlap.true_area[r] == np.sum(truth == i)
        for c, j in enumerate(overlap.pred_ids):
            assert overlap.intersection[r, c] == np.sum((truth == i) & (pred == j))


def test_label_maps_and_stacks_of_masks_give_the_same_bits():
    truth, pred = random_maps(0)
    one = metrics.frame_overlap(truth, pred)
    other = metrics.mask_overlap(
        truth == one.true_ids[:, None, None],
        pred == one.pred_ids[:, None, None],
        one.true_ids,
        one.pred_ids,
    )
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name))


def test_a_stack_may_overlap_within_a_side():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2], masks[1, 1:3] = True, True
    overlap = metrics.mask_overlap(masks, masks)
    np.testing.assert_array_equal(overlap.intersection, [[8, 4], [4, 8]])
    np.testing.assert_allclose(overlap.similarity()[0, 1], 4 / 12)


def test_relabelling_merges_and_drops_like_repainting():
    truth, pred = random_maps(1)
    mapping = {65535: 3, 70001: 1, 9_000_017: 3, 2**31 - 1: 0}
    table = np.zeros_like(pred)
    for old, new in mapping.items():
        table[pred == old] = new
    renamed = metrics.frame_overlap(truth, pred).relabel(mapping)
    repainted = metrics.frame_overlap(truth, table)
    for name, value in vars(repainted).items():
        np.testing.assert_array_equal(getattr(renamed, name), value, err_msg=name)
    other_way = metrics.frame_overlap(pred, truth).relabel_true(mapping)
    np.testing.assert_array_equal(other_way.intersection, renamed.intersection.T)
    np.testing.assert_array_equal(other_way.true_area, renamed.pred_area)


def test_dropping_small_detections_keeps_those_above_the_limit():
    truth = np.zeros((10, 10), int)
    truth[:2], truth[5:8] = 1, 2
    overlap = metrics.frame_overlap(truth, truth).drop(pred_area=20, true_area=30)
    assert overlap.pred_ids.tolist() == [2]
    assert overlap.true_ids.tolist() == []
    assert overlap.similarity().shape == (0, 1)


def test_the_background_is_a_parameter_of_each_side():
    truth = np.array([[-1, 0, 3]])
    pred = np.array([[0, 5, 5]])
    overlap = metrics.frame_overlap(truth, pred, true_background=-1)
    assert overlap.true_ids.tolist() == [0, 3]
    whole = metrics.frame_overlap(truth, pred, true_background=None)
    assert whole.true_ids.tolist() == [-1, 0, 3]
    assert whole.intersection.tolist() == [[0], [1], [1]]


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (3, 0)])
def test_tiny_and_empty_frames_have_no_detection(shape):
    overlap = metrics.frame_overlap(np.zeros(shape, int), np.zeros(shape, int))
    assert overlap.similarity().shape == (0, 0)


def test_threads_give_the_same_frames_in_the_same_order():
    maps = np.stack([random_maps(seed) for seed in range(12)])
    plain = metrics.frame_overlaps(maps[:, 0], maps[:, 1])
    threaded = metrics.frame_overlaps(maps[:, 0], maps[:, 1], threads=2)
    for a, b in zip(plain, threaded, strict=True):
        np.testing.assert_array_equal(a.intersection, b.intersection)


def test_points_are_similar_up_to_the_zero_distance():
    a = np.array([[0.0, 0, 0], [np.nan, 0, 0]])
    b = np.array([[0.0, 0, 1], [0, 3, 0], [0, 0, 0]])
    expected = [[0.5, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(metrics.point_similarity(a, b), expected)
    wide = metrics.point_similarity(a, b, zero_distance=4)
    np.testing.assert_allclose(wide[0], [0.75, 0.25, 1])


def test_misuse_is_told():
    with pytest.raises(UsageError, match="differ in size"):
        metrics.frame_overlap(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(UsageError, match="float64, expected integers"):
        metrics.frame_overlap(np.zeros((2, 2)), np.zeros((2, 2), int))
    with pytest.raises(UsageError, match="3 ids were given for 2"):
        metrics.box_overlap(np.zeros((2, 4)), np.zeros((1, 4)), true_ids=[1, 2, 3])
    with pytest.raises(ValueError, match="box form"):
        metrics.box_iou(np.zeros((1, 4)), np.zeros((1, 4)), form="cxcywh")
