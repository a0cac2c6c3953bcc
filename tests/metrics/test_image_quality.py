"""PSNR, SSIM, the head of LPIPS, and their means: official numbers, loops, limits."""

import itertools
import math

import jax
import numpy as np
import pytest

from egojax import metrics
from egojax.errors import FrameError, UsageError

ORACLE_NAMES = {
    "gauss11_valid": "ssim_gauss11_valid__dm_pix",
    "gauss11_zero": "ssim_gauss11_zero_padded__3dgs",
    "gauss_skimage": "ssim_gauss_skimage",
    "uniform7": "ssim_uniform7_skimage_default",
}
NVS_PRED = np.array(
    [[[0.2, 0.3, 0.4], [0.5, 0.5, 0.5]], [[0.9, 0.1, 0.0], [0.3, 0.3, 0.3]]]
)
NVS_TARGET = np.array(
    [[[0.1, 0.3, 0.5], [0.5, 0.4, 0.5]], [[1.0, 0.2, 0.1], [0.3, 0.3, 0.2]]]
)
LEFT = np.array([[True, False], [True, False]])


@pytest.fixture(scope="module")
def photographs(oracle):
    """Name, prediction, target (bytes) and the official numbers of each case."""
    return [
        (
            np.array(case["inputs"]["pred_uint8"], np.uint8),
            np.array(case["inputs"]["gt_uint8"], np.uint8),
            case["outputs"],
        )
        for case in oracle("image_quality")["cases"]
    ]


def test_psnr_of_the_official_images(photographs):
    assert len(photographs) == 3
    for pred, target, expected in photographs:
        for name in ("psnr", "psnr_skimage"):
            assert abs(metrics.psnr(pred, target) - expected[name]) < 1e-9
        as_floats = metrics.psnr(pred / 255, target / 255)
        assert abs(as_floats - expected["psnr"]) < 1e-9


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
def test_ssim_of_the_official_images(photographs, variant):
    # The first two variants were run in float32.
    tolerance = 1e-5 if variant.startswith("gauss11") else 1e-9
    for pred, target, expected in photographs:
        ours = metrics.ssim(pred, target, variant)
        assert abs(ours - expected[ORACLE_NAMES[variant]]) < tolerance


def ssim_by_loop(x, y, variant):
    """The definition, position by position, as weighted (co)variances."""
    radius = 3 if variant == "uniform7" else 5
    steps = range(-radius, radius + 1)
    sigma = math.inf if variant == "uniform7" else 1.5
    weight = {
        (i, j): math.exp(-(i * i + j * j) / (2 * sigma**2))
        for i, j in itertools.product(steps, steps)
    }
    factor = 49 / 48 if variant == "uniform7" else 1.0
    height, width, channels = x.shape
    rim = 0 if variant == "gauss11_zero" else radius
    found = []
    for r, c, k in itertools.product(
        range(rim, height - rim), range(rim, width - rim), range(channels)
    ):
        rows = []
        for (i, j), w in weight.items():
            inside = 0 <= r + i < height and 0 <= c + j < width
            pair = (x[r + i, c + j, k], y[r + i, c + j, k]) if inside else (0, 0)
            rows.append((w, *pair))
        w, a, b = np.array(rows).T
        w = w / w.sum()
        mean_a, mean_b = w @ a, w @ b
        var_a, var_b = w @ (a - mean_a) ** 2, w @ (b - mean_b) ** 2
        both = w @ ((a - mean_a) * (b - mean_b))
        light = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        shape = (2 * factor * both + 9e-4) / (factor * (var_a + var_b) + 9e-4)
        found.append(light * shape)
    return np.mean(found)


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
@pytest.mark.parametrize("seed", range(2))
def test_ssim_is_its_definition(variant, seed):
    rng = np.random.default_rng(seed)
    x = rng.random((13, 12, 3))
    y = np.clip(x + rng.normal(0, 0.2, x.shape), -0.1, 1.3)
    ours = metrics.ssim(x, y, variant)
    np.testing.assert_allclose(ours, ssim_by_loop(x, y, variant), rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", metrics.SSIM_VARIANTS)
def test_ssim_is_symmetric_and_one_for_an_equal_image(variant):
    rng = np.random.default_rng(3)
    x, y = rng.random((2, 20, 16, 3))
    assert metrics.ssim(x, x, variant) == pytest.approx(1, abs=1e-12)
    assert metrics.ssim(x, y, variant) == pytest.approx(metrics.ssim(y, x, variant))
    flipped = metrics.ssim(x[::-1, ::-1], y[::-1, ::-1], variant)
    assert metrics.ssim(x, y, variant) == pytest.approx(flipped, abs=1e-12)
    black, white = np.zeros((12, 12)), np.ones((12, 12))
    if variant != "gauss11_zero":  # There the rim has structure.
        assert metrics.ssim(black, white, variant) == pytest.approx(1e-4 / 1.0001)


def test_an_image_smaller_than_the_window_has_no_ssim_but_with_padding():
    small = np.random.default_rng(0).random((10, 40, 3))
    assert math.isnan(metrics.ssim(small, small, "gauss11_valid"))
    assert math.isnan(metrics.ssim(small, small, "gauss_skimage"))
    assert metrics.ssim(small, small, "uniform7") == pytest.approx(1)
    assert metrics.ssim(small[:1, :1], small[:1, :1], "gauss11_zero") == 1
    eleven = np.zeros((11, 11, 3))
    assert metrics.ssim(eleven, eleven, "gauss11_valid") == 1


def test_psnr_clips_only_where_asked():
    pred, target = np.array([[[0, 0.5, 1.2]]]), np.array([[[0.1, 0.5, 1.0]]])
    # The published numbers were run in float32.
    assert metrics.psnr(pred, target) == pytest.approx(17.7815094, abs=5e-6)
    assert metrics.psnr(pred, target, clip=True) == pytest.approx(24.7712116, abs=5e-6)
    assert metrics.psnr(pred, target) == pytest.approx(-10 * math.log10(0.05 / 3))
    clipped = metrics.ssim(np.full((12, 12), 1.5), np.ones((12, 12)), clip=True)
    assert clipped == 1


@pytest.mark.parametrize("seed", range(3))
def test_psnr_of_a_region_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    pred, target = rng.random((2, 7, 9, 3)).astype(np.float32)
    region = rng.random((7, 9)) < 0.3
    squares = [
        (float(pred[r, c, k]) - float(target[r, c, k])) ** 2
        for r, c, k in itertools.product(range(7), range(9), range(3))
        if region[r, c]
    ]
    expected = -10 * math.log10(math.fsum(squares) / len(squares))
    assert metrics.psnr(pred, target, region) == pytest.approx(expected, abs=1e-9)
    everywhere = metrics.psnr(pred, target, np.ones((7, 9), bool))
    assert everywhere == metrics.psnr(pred, target)


def test_no_error_is_infinite_and_an_empty_region_undefined():
    image = np.random.default_rng(0).random((4, 5, 3))
    assert metrics.psnr(image, image) == math.inf
    assert math.isnan(metrics.psnr(image, image, np.zeros((4, 5), bool)))
    assert metrics.psnr(np.zeros((4, 5)), np.ones((4, 5))) == 0
    huge = metrics.psnr(np.full((1, 1), 1e38), np.zeros((1, 1)))
    assert huge == pytest.approx(-760)


def test_the_head_of_lpips_reproduces_the_official_layers(oracle):
    case = oracle("image_quality")["lpips"]
    channels_last = {
        side: [np.moveaxis(np.array(layer), 0, -1) for layer in case["inputs"][side]]
        for side in ("features_a", "features_b")
    }
    weights = [np.array(layer) for layer in case["inputs"]["lin_weights"]]
    layers = metrics.lpips_layers(*channels_last.values(), weights)
    expected = case["outputs"]
    np.testing.assert_allclose(layers, expected["per_layer"], rtol=0, atol=1e-5)
    assert layers.sum() == pytest.approx(expected["lpips"], abs=1e-5)
    same = metrics.lpips_layers(*[channels_last["features_a"]] * 2, weights)
    np.testing.assert_array_equal(same, 0)
    gray = np.broadcast_to(np.array([[0.0], [0.5], [1.0]])[..., None], (3, 1, 3))
    np.testing.assert_allclose(
        metrics.lpips_input(gray)[:, 0].T, expected["scaling_layer_output"], rtol=1e-6
    )


def test_features_of_zero_length_are_no_division_by_zero():
    zero, one = [np.zeros((1, 1, 2))], [np.array([[[1.0, 0.0]]])]
    weights = [np.array([2.0, 3.0])]
    assert metrics.lpips_layers(zero, zero, weights) == 0
    assert metrics.lpips_layers(zero, one, weights) == pytest.approx(2)


def test_lpips_says_what_does_not_fit():
    feature, weights = [np.ones((2, 2, 3))], [np.ones(3)]
    with pytest.raises(UsageError, match="1 and 2 layers of features and 1 of weights"):
        metrics.lpips_layers(feature, feature * 2, weights)
    with pytest.raises(UsageError, match=r"features \(2, 2, 3\) and \(2, 1, 3\)"):
        metrics.lpips_layers(feature, [np.ones((2, 1, 3))], weights)
    with pytest.raises(UsageError, match=r"weight -1\.0, expected none below 0"):
        metrics.lpips_layers(feature, feature, [-np.ones(3)])


def test_images_that_cannot_be_compared_are_told():
    image = np.zeros((4, 5, 3))
    with pytest.raises(UsageError, match=r"\(4, 5, 3\), expected \(5, 4, 3\)"):
        metrics.psnr(image, np.zeros((5, 4, 3)))
    with pytest.raises(UsageError, match=r"region is \(5, 4\), expected \(4, 5\)"):
        metrics.psnr(image, image, np.zeros((5, 4), bool))
    with pytest.raises(UsageError, match="int32, expected floats"):
        metrics.ssim(image.astype(np.int32), image)
    with pytest.raises(UsageError, match=r"\(3,\), expected \(H, W, C\)"):
        metrics.psnr(np.zeros(3), np.zeros(3))
    bad = image.copy()
    bad[0, 0, :2] = np.nan, np.inf
    with pytest.raises(FrameError, match="prediction has 2 colours"):
        metrics.psnr(bad, image)
    with pytest.raises(FrameError, match="target has 2 colours"):
        metrics.ImageScores.empty().update(image, bad)
    with pytest.raises(ValueError, match="'gauss11'; there are"):
        metrics.ssim(image, image, "gauss11")
    with pytest.raises(ValueError, match=r"\['box'\]; there are"):
        metrics.ImageScores.empty(ssim=("box",))


def test_scores_are_means_over_images_of_the_numbers_of_each(photographs):
    rng = np.random.default_rng(0)
    scores = metrics.ImageScores.empty(ssim=metrics.SSIM_VARIANTS)
    rows = []
    for pred, target, _ in photographs:
        moving = rng.random(target.shape[:2]) < 0.4
        regions = {"static": ~moving, "dynamic": moving}
        scores = scores.update(pred, target, regions, lpips=0.25)
        rows.append(
            {
                "psnr": metrics.psnr(pred, target),
                "psnr_static": metrics.psnr(pred, target, ~moving),
                "psnr_dynamic": metrics.psnr(pred, target, moving),
                "lpips": 0.25,
            }
            | {f"ssim_{v}": metrics.ssim(pred, target, v) for v in ORACLE_NAMES}
        )
    result = scores.compute()
    assert result.pop("num_images") == 3
    expected = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-12), name


def test_scores_merge_to_the_whole_and_are_pytrees():
    rng = np.random.default_rng(1)
    pairs = rng.random((5, 2, 12, 14, 3))
    empty = metrics.ImageScores.empty()
    whole, parts = empty, [empty, empty]
    for k, (pred, target) in enumerate(pairs):
        # Two images have no moving pixel.
        moving = np.arange(14) < (5 if k % 2 else 0)
        regions = {"dynamic": np.broadcast_to(moving, (12, 14))}
        whole = whole.update(pred, target, regions)
        parts[k % 2] = parts[k % 2].update(pred, target, regions)
    merged = parts[0].merge(parts[1]).compute()
    result = whole.compute()
    assert result == pytest.approx(merged, abs=1e-12, nan_ok=True)
    assert whole.means.counts()["psnr_dynamic"] == 2
    assert math.isnan(result["psnr_static"])
    assert math.isnan(result["lpips"])
    again = jax.tree.unflatten(jax.tree.structure(whole), jax.tree.leaves(whole))
    assert again.compute() == pytest.approx(result, nan_ok=True)


def test_no_image_is_undefined_and_other_settings_do_not_merge():
    empty = metrics.ImageScores.empty()
    result = empty.compute()
    assert result.pop("num_images") == 0
    assert all(math.isnan(value) for value in result.values())
    with pytest.raises(ValueError, match="different pytree metadata"):
        empty.merge(metrics.ImageScores.empty(clip=True))
    with pytest.raises(ValueError, match=r"\['psnr_moving'\]; there are"):
        image = np.zeros((12, 12))
        empty.update(image, image + 0.1, {"moving": image > 0})


def test_the_mean_with_an_exact_image_is_infinite_but_no_nan():
    image = np.random.default_rng(0).random((12, 12, 3))
    scores = metrics.ImageScores.empty().update(image, image)
    scores = scores.update(image, np.clip(image + 0.1, 0, 1))
    assert scores.compute()["psnr"] == math.inf
    assert scores.merge(scores).compute()["psnr"] == math.inf


def test_new_view_synthesis_of_epic_fields_in_both_regions():
    scores = metrics.ImageScores.epic_fields()
    regions = {"foreground": LEFT, "background": ~LEFT}
    result = scores.update(NVS_PRED, NVS_TARGET, regions).compute()
    assert result["psnr"] == pytest.approx(22.3408318, abs=2e-6)
    assert result["psnr_foreground"] == pytest.approx(20.7918129, abs=2e-6)
    assert result["psnr_background"] == pytest.approx(24.7712135, abs=2e-6)


def test_new_view_synthesis_skips_frames_without_foreground_and_clips():
    scores = metrics.ImageScores.epic_fields()
    all_back = {"foreground": LEFT & False, "background": LEFT | True}
    assert scores.update(NVS_PRED, NVS_TARGET, all_back).compute()["num_images"] == 0
    # A frame outside of actions has no mask, and counts as a whole.
    outside = scores.update(NVS_PRED, NVS_TARGET).compute()
    assert outside["num_images"] == 1
    assert math.isnan(outside["psnr_foreground"])
    all_front = {"foreground": LEFT | True, "background": LEFT & False}
    once = scores.update(NVS_PRED, NVS_TARGET, all_front)
    both = once.update(
        NVS_PRED, NVS_TARGET, {"foreground": LEFT, "background": ~LEFT}
    ).compute()
    assert both["num_images"] == 2
    assert both["psnr_background"] == pytest.approx(24.7712135, abs=2e-6)
    beyond = scores.update(NVS_PRED + np.where(NVS_PRED == 0.9, 5, 0), NVS_TARGET)
    clipped = metrics.psnr(np.where(NVS_PRED == 0.9, 1, NVS_PRED), NVS_TARGET)
    assert beyond.compute()["psnr"] == pytest.approx(clipped)
