"""Results as JSON and as tables; the mean accumulator."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax import metrics


def test_json_has_null_for_nan_and_plain_numbers_elsewhere():
    result = {"a": np.float64("nan"), "b": np.arange(2), 3: [np.inf, np.int64(4)]}
    packed = json.dumps(metrics.to_json(result), allow_nan=False)
    assert json.loads(packed) == {"a": None, "b": [0, 1], "3": [None, 4]}


def test_every_result_of_a_sequence_goes_through_json():
    scores = metrics.TrackingScores.of([]).compute()
    json.dumps(metrics.to_json(scores), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("HOTA", 0.5555, "55.5"),
        ("IDSW", 12, "12"),
        ("ATE", 0.123456, "0.1235"),
        ("AJ_RD_D4_dmin16", 0.25, "25.0"),
        ("PCL_R0.3", 1.0, "100.0"),
        ("IDF1", float("nan"), "-"),
        ("J&F-Mean", None, "-"),
        ("AP_all", -1.0, "-"),
        ("mAP", 0.69124, "69.1"),
        ("mAP_dynamic_semistatic", 0.5, "50.0"),
        ("num_frames_mAP", 40, "40"),
        ("psnr", 24.1, "24.10"),
        ("psnr_static", np.float64(9.8765), "9.88"),
        ("psnr_dynamic", float("inf"), "inf"),
        ("ssim_gauss11_valid", 0.87066, "0.8707"),
        ("lpips", 0.047664, "0.0477"),
        ("lpips", None, "-"),
    ],
)
def test_numbers_print_as_the_field_prints_them(name, value, text):
    assert metrics.format_number(name, value) == text


def test_a_table_has_a_line_a_row_and_equal_widths():
    rows = {
        "2D ids": {"HOTA": 0.3, "IDSW": 104, "HOTA_by_alpha": [0.1]},
        "ours": {"HOTA": 0.456, "IDSW": 9},
    }
    text = metrics.format_table(rows, corner="input")
    assert text.splitlines()[0] == "| input  | HOTA | IDSW |"
    assert text.splitlines()[3] == "| ours   | 45.6 |    9 |"
    assert len({len(line) for line in text.splitlines()}) == 1
    picked = metrics.format_table(rows, ["IDSW", "MOTA"]).splitlines()
    assert picked[2] == "| 2D ids |  104 |    - |"


def test_a_column_of_single_digits_is_one_of_a_markdown_table():
    """A divider has a dash; what has none is text."""
    text = metrics.format_table({"a": {"J": 0}}, ["J"], corner="x")
    assert text.split("\n")[1] == "| -- | -: |"


def test_means_of_results_skip_nan_and_average_lists():
    nan = float("nan")
    mean = metrics.mean_of_results([{"a": 1, "b": [1, nan]}, {"a": nan, "b": [3, nan]}])
    assert mean["a"] == 1.0
    np.testing.assert_equal(mean["b"], [2.0, nan])


def test_a_mean_is_the_same_in_parts_under_jit_and_ignores_what_has_no_weight():
    values = np.random.default_rng(0).random(10).astype(np.float32)
    whole = metrics.Mean.of(values)
    parts = jax.jit(metrics.Mean.of)(values[:3]).update(values[3:])
    np.testing.assert_allclose(parts.compute(), values.mean(), rtol=1e-6)
    np.testing.assert_allclose(whole.compute(), values.mean(), rtol=1e-6)
    holes = metrics.Mean.of(
        jnp.array([1.0, jnp.nan, 4.0]), jnp.array([True, False, True])
    )
    assert holes.compute() == 2.5
    assert np.isnan(metrics.Mean.of(jnp.zeros(0)).compute())
    grad = jax.grad(lambda x: metrics.Mean.of(x, x > 0).compute())
    np.testing.assert_allclose(grad(jnp.array([2.0, -1.0, 2.0])), [0.5, 0, 0.5])
