"""J and F of one mask: official numbers, the plain definition, properties."""

import cv2
import numpy as np
import pytest

from egojax import metrics

FRAMES = [
    *[
        "both_empty",
        "pred_empty",
        "gt_empty",
        "identical",
        "shift_1",
        "shift_2",
        "shift_3",
    ],
    *[
        "full_frame_both",
        "full_vs_square",
        "corner_pixels",
        "one_pixel_vs_empty_corner",
    ],
    *["row_line_vs_next_row", "border_column", "threshold_pixels_3", "void_top_half"],
    *[
        "void_everything",
        "blobs_24x32",
        "blobs_48x64",
        "blobs_120x214",
        "blobs_240x427",
    ],
    "blobs_480x854",
]


def blob(rng, size=(60, 90)):
    """A random blob, often cut by the edge of the frame."""
    noise = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 5)
    return noise > np.quantile(noise, rng.uniform(0.5, 0.97))


def plain_boundary(mask):
    """The definition, pixel by pixel."""
    out = np.zeros(mask.shape, bool)
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            others = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if y == height - 1:
                others = others[:1]
            if x == width - 1:
                others = others[1:2]
            out[y, x] = any(
                mask[v, u] != mask[y, x] for v, u in others if v < height and u < width
            )
    return out


def plain_contour(truth, pred, radius):
    """F from all pairs of boundary pixels."""
    a, b = np.argwhere(plain_boundary(truth)), np.argwhere(plain_boundary(pred))
    if len(a) == 0 or len(b) == 0:
        return float(len(a) == len(b))
    near = np.sum((a[:, None] - b[None]) ** 2, -1) <= radius**2
    precision, recall = near.any(0).mean(), near.any(1).mean()
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def test_the_list_of_oracle_frames_is_complete(oracle):
    assert [case["name"] for case in oracle("davis_jf")["frames"]] == FRAMES


@pytest.mark.parametrize("index", range(len(FRAMES)), ids=FRAMES)
def test_every_official_frame_is_reproduced(index, oracle, from_runs):
    case = oracle("davis_jf")["frames"][index]
    given, expected = case["inputs"], case["outputs"]
    truth, pred = (from_runs(given[k]).astype(bool) for k in ("gt", "pred"))
    void = from_runs(given["void"]).astype(bool) if "void" in given else None
    j, f = metrics.region_and_contour(truth, pred, void, bound_th=given["bound_th"])
    np.testing.assert_allclose([j, f], [expected["J"], expected["F"]], atol=1e-12)
    assert metrics.region_similarity(truth, pred, void) == j
    assert metrics.contour_accuracy(truth, pred, void, bound_th=given["bound_th"]) == f
    radius = metrics.boundary_radius(truth.shape, given["bound_th"])
    assert radius == expected["radius_px"]
    assert metrics.boundary_map(truth).sum() == expected["gt_boundary_pixels"]
    assert metrics.boundary_map(pred).sum() == expected["pred_boundary_pixels"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("radius", [1, 3, 13, 20])
def test_the_bounding_box_changes_no_bit(seed, radius):
    """Radii on both sides of the switch from dilation to distance transform."""
    rng = np.random.default_rng(seed)
    truth, pred = blob(rng), blob(rng)
    np.testing.assert_array_equal(metrics.boundary_map(truth), plain_boundary(truth))
    ours = metrics.contour_accuracy(truth, pred, bound_th=radius)
    assert ours == pytest.approx(plain_contour(truth, pred, radius), abs=1e-15)


@pytest.mark.parametrize("seed", range(4))
def test_both_are_symmetric_and_one_for_equal_masks(seed):
    rng = np.random.default_rng(seed)
    a, b = blob(rng), blob(rng)
    assert metrics.region_and_contour(a, b) == metrics.region_and_contour(b, a)
    assert metrics.region_and_contour(a, a) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("truth", "pred", "expected"), [(1, 0, 0.0), (0, 1, 0.0), (0, 0, 1.0)]
)
def test_empty_masks_give_the_fixed_values(truth, pred, expected):
    square = np.zeros((20, 30), bool)
    square[5:12, 6:18] = True
    scores = metrics.region_and_contour(square & (truth > 0), square & (pred > 0))
    assert scores == (expected, expected)


def test_the_numbers_of_the_specification_of_motion_segmentation():
    """Spec 10.6 of LRTL."""
    truth, pred, nothing = np.zeros((3, 20, 30), bool)
    truth[5:15, 8:20] = True
    pred[6:16, 10:22] = True
    assert metrics.region_and_contour(truth, pred) == pytest.approx(
        (0.6, 0.568181818), abs=1e-9
    )
    assert metrics.contour_accuracy(truth, pred, bound_th=3) == 1.0
    void = np.zeros((20, 30), bool)
    void[:, 21:] = True
    assert metrics.region_and_contour(truth, pred, void) == pytest.approx(
        (0.642857143, 0.766197183), abs=1e-9
    )
    assert metrics.contour_accuracy(nothing, nothing) == 1.0
    assert metrics.contour_accuracy(truth, nothing) == 0.0
    series = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.55])
    found = metrics.series_statistics(series)
    assert list(found.values()) == pytest.approx([0.505, 0.5, 0.516666667], abs=1e-9)
