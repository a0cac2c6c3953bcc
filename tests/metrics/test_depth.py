"""Depth errors: the official clip, invariance, limits."""

import numpy as np
import pytest

from egojax import metrics


def test_the_official_clip_is_reproduced(oracle, agrees):
    case = oracle("depth")["cases"][0]
    truth = np.array(case["inputs"]["gt_depth"])
    disparity = np.array(case["inputs"]["pred_disparity"])
    limit = {"max_depth": case["inputs"]["max_depth"]}
    scale, shift = metrics.align_disparity(disparity, truth, **limit)
    depth = metrics.depth_from_aligned(disparity, scale, shift, **limit)
    scores = metrics.DepthScores.empty()
    for pred, true in zip(depth, truth, strict=True):
        scores = scores.update(pred, true, **limit)
    ours = {"scale": scale, "shift": shift, **scores.compute()}
    expected = case["outputs"]
    # The official shares are means of float32.
    shares = {name: expected.pop(name) for name in list(expected) if "delta" in name}
    agrees(ours, expected, 1e-9)
    agrees(ours, shares, 1e-7)


def test_any_scale_and_shift_of_the_disparity_is_undone():
    truth = np.random.default_rng(0).uniform(0.5, 9, (3, 8, 10))
    disparity = 3 / truth + 0.7
    scale, shift = metrics.align_disparity(disparity, truth, max_depth=10.0)
    depth = metrics.depth_from_aligned(disparity, scale, shift, max_depth=10.0)
    np.testing.assert_allclose(depth, truth, rtol=1e-6)


def test_frames_without_a_valid_pixel_are_left_out():
    empty = metrics.DepthScores.empty().update(
        np.ones((2, 2)), np.full((2, 2), np.inf), max_depth=10.0
    )
    assert not empty.weight.any()
    assert np.isnan(empty.compute()["rmse_linear"])
    one = empty.update(np.full((2, 2), 3.0), np.full((2, 2), 2.0), max_depth=10.0)
    assert one.merge(empty).compute()["abs_relative_difference"] == 0.5
    with pytest.raises(ValueError, match="0 valid pixels"):
        metrics.align_disparity(np.ones((1, 2, 2)), np.zeros((1, 2, 2)), max_depth=9.0)
