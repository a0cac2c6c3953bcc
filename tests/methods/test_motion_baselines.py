"""Baselines on flow that is known: what is left of it, thresholds, clusters, misuse."""

import numpy as np
import pytest

from egojax.methods import motion_baselines
from egojax.methods.motion_baselines import ClusterSettings
from tests import moving_clips

HIGH, WIDE = moving_clips.SIZE
INSIDE = moving_clips.frame(0)[1] > 0


def _flow(noise: float = 0.05) -> np.ndarray:
    """True flow of frame 0: the picture pans by -1, the disk moves by (2, 1)."""
    flow = np.where(INSIDE[..., None], (2.0, 1.0), (-1.0, 0.0))
    error = noise * np.random.default_rng(0).normal(size=flow.shape)
    return (flow + error).astype(np.float32)


def _iou(labels: np.ndarray) -> float:
    return ((labels > 0) & INSIDE).sum() / ((labels > 0) | INSIDE).sum()


def _zoom() -> np.ndarray:
    """Flow of a camera that moves toward a slanted plane: quadratic in the place."""
    y, x = (np.mgrid[:HIGH, :WIDE] + 0.5) / WIDE
    u = 1 + 3 * x + 2 * x * x - x * y
    v = -2 + 3 * y + 2 * x * y - y * y
    return np.stack([u, v], -1).astype(np.float32)


def test_a_quadratic_flow_leaves_nothing():
    """The six functions of the fit, by hand."""
    assert np.abs(motion_baselines.global_residual(_zoom())).max() < 5e-3


def test_what_is_left_of_a_body_is_its_own_motion():
    """Against the least squares of the pixels outside of it."""
    flow = _zoom() + np.where(INSIDE[..., None], (0.0, 4.0), 0.0).astype(np.float32)
    y, x = (np.mgrid[:HIGH, :WIDE] + 0.5) / WIDE
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    theta, *_ = np.linalg.lstsq(basis[~INSIDE], flow[~INSIDE], rcond=None)
    found = motion_baselines.global_residual(flow)
    np.testing.assert_allclose(found, flow - basis @ theta, atol=0.03)
    np.testing.assert_allclose(found[INSIDE].mean(0), [0, 4], atol=0.03)


def test_a_body_is_what_exceeds_the_threshold():
    labels = motion_baselines.flow_magnitude(_flow())
    assert labels.dtype == np.int32 and {*np.unique(labels)} == {0, 1}
    assert _iou(labels) > 0.99


@pytest.mark.parametrize("flow", [np.zeros((40, 60, 2), np.float32), _zoom()])
def test_without_motion_of_its_own_nothing_is_found(flow):
    assert not motion_baselines.flow_magnitude(flow).any()
    image = np.full((*flow.shape[:2], 3), 90, np.uint8)
    labels, centers = motion_baselines.flow_clusters(image, flow)
    assert not labels.any() and np.isfinite(centers).all()


def test_noise_below_half_a_pixel_is_no_motion():
    assert not motion_baselines.flow_magnitude(0.05 * _flow(1.0)).any()


@pytest.mark.parametrize(("count", "position"), [(2, 1.0), (3, 1.0), (2, 0.0)])
def test_clusters_find_the_body_and_its_outline(count, position):
    """Without a weight of places, too, centres have places."""
    image, _ = moving_clips.frame(0)
    settings = ClusterSettings(count, position)
    labels, centers = motion_baselines.flow_clusters(image, _flow(), None, settings)
    assert _iou(labels) > 0.95 and labels.max() < count
    again, _ = motion_baselines.flow_clusters(image, _flow(), None, settings)
    np.testing.assert_array_equal(labels, again)
    body = np.linalg.norm(centers[:, :2], axis=-1).argmax()
    np.testing.assert_allclose(centers[body, :2], [3, 1], atol=0.1)
    row, column = (np.argwhere(INSIDE) + 0.5).mean(0) / WIDE
    np.testing.assert_allclose(centers[body, 2:], [column, row], atol=0.05)


def test_clusters_keep_their_numbers_from_frame_to_frame():
    """Two bodies that move apart; drawn anew, their order would be chance."""
    flow, image = np.zeros((60, 120, 2), np.float32), np.zeros((60, 120, 3), np.uint8)
    for at, move in ((30, 4.0), (75, -4.0)):
        flow[20:40, at : at + 15, 0] = move
        image[20:40, at : at + 15] = 200
    first, centers = motion_baselines.flow_clusters(image, flow)
    assert len({int(first[30, 37]), int(first[30, 82]), 0}) == 3
    for seed in range(1, 4):
        found, _ = motion_baselines.flow_clusters(image, flow, centers, seed=seed)
        np.testing.assert_array_equal(found, first)


def test_a_body_of_few_pixels_is_left_as_it_is():
    """GrabCut cannot tell colours of so few."""
    flow, image = np.zeros((40, 60, 2), np.float32), np.zeros((40, 60, 3), np.uint8)
    flow[17:20, 29:32] = (0.0, 9.0)
    labels, _ = motion_baselines.flow_clusters(image, flow, None, ClusterSettings(2))
    np.testing.assert_array_equal(labels > 0, flow[..., 1] > 0)


def test_misuse_is_told():
    flow, image = np.zeros((40, 60, 2), np.float32), np.zeros((40, 61, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(40, 61, 3\), flow \(40, 60, 2\)"):
        motion_baselines.flow_clusters(image, flow)
    with pytest.raises(ValueError, match="1 clusters"):
        motion_baselines.flow_clusters(
            image[:, :60], flow, None, ClusterSettings(count=1)
        )
