"""The quadratic fit of a flow: official numbers, definition, gradients, small masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.ops.flow import flow_loss, quadratic_flow
from egojax.ops.image import resize_bilinear


def basis(height, width):
    x, y = np.meshgrid(
        np.arange(height) / height, np.arange(width) / width, indexing="ij"
    )
    return np.stack([x, y, x * x, y * y, x * y, np.ones_like(x)], -1).reshape(-1, 6)


def by_least_squares(masks, flow):
    """Reconstruction and coefficients by definition, in float64."""
    height, width = flow.shape[:2]
    rows, target = basis(height, width), flow.reshape(-1, 2).astype(np.float64)
    recon, theta = np.zeros_like(target), []
    for mask in masks.reshape(len(masks), -1, 1).astype(np.float64):
        theta.append(np.linalg.lstsq(mask * rows, mask * target, rcond=None)[0])
        recon += mask * (rows @ theta[-1])
    return recon.reshape(flow.shape), np.array(theta)


def by_formula(masks, flow):
    """The gradient of the loss by the masks, as spec 2.3 writes it, in float64."""
    height, width = flow.shape[:2]
    rows, target = basis(height, width), flow.reshape(-1, 2).astype(np.float64)
    recon, theta = by_least_squares(masks, flow)
    left, out = target - recon.reshape(-1, 2), []
    for mask, fit in zip(
        masks.reshape(len(masks), -1).astype(float), theta, strict=True
    ):
        normal = rows.T @ (mask[:, None] ** 2 * rows)
        lever = np.linalg.solve(normal, rows.T @ (mask[:, None] * left))
        more = 2 * mask * ((rows @ lever) * (target - rows @ fit)).sum(1)
        out.append(-((left * (rows @ fit)).sum(1) + more) / len(rows))
    return np.array(out).reshape(masks.shape)


def official():
    """Spec 10.4: masks and flow of 4 x 5 pixels."""
    k, i, j = np.ogrid[:2, :4, :5]
    logits = np.sin(0.9 * i + 0.5 * j + 1.7 * k).astype(np.float32)
    i, j, c = np.ogrid[:4, :5, :2]
    flow = 2 * np.cos(0.8 * i * (1 + c) + 0.6 * j) + c
    return logits, flow.astype(np.float32)


def test_the_official_numbers():
    logits, flow = official()
    masks = jax.nn.softmax(logits, 0)
    recon = quadratic_flow(masks, flow).recon
    row = [2.84103647, 1.53620859, 0.36089929, -0.65101965, -1.39282357]
    np.testing.assert_allclose(recon[0, :, 0], row, rtol=1e-5)
    row = [0.9619604, 1.84414849, 2.6826989, 3.26599573, 3.54648556]
    np.testing.assert_allclose(recon[3, :, 1], row, rtol=1e-5)
    assert flow_loss(masks, flow) == pytest.approx(0.216561066, rel=1e-5)
    slope = jax.grad(flow_loss)(masks, flow)
    rows = {
        (0, 0): [0.17775496, -0.03967837, -0.01878869, 0.00943206, -0.01164872],
        (0, 3): [-0.00847417, -0.064474, -0.05140914, 0.12353936, 0.499524],
        (1, 3): [-0.00751478, -0.05323859, -0.02889161, 0.0626361, 0.14575017],
    }
    for at, row in rows.items():
        np.testing.assert_allclose(slope[at], row, atol=1e-5)
    by_logits = jax.grad(lambda x: flow_loss(jax.nn.softmax(x, 0), flow))(logits)
    assert np.linalg.norm(by_logits) == pytest.approx(0.107493558, rel=1e-4)
    turned = flow * np.float32([-1, 1])
    assert flow_loss(masks, turned) == pytest.approx(0.216561066, rel=1e-5)


def test_the_official_number_of_masks_that_are_resized():
    logits = np.float32(
        [[[0.2, -0.5, 1.0], [0.4, 0.3, -0.9]], [[-0.1, 0.8, 0.5], [-0.6, 0.2, 0.7]]]
    )
    masks = resize_bilinear(jax.nn.softmax(logits, 0)[..., None], (4, 5))[..., 0]
    row = [0.5744425, 0.4303315, 0.21416503, 0.45914167, 0.62245935]
    np.testing.assert_allclose(masks[0, 0], row, rtol=1e-5)
    assert flow_loss(masks, official()[1]) == pytest.approx(0.28759918, rel=1e-5)


def scene(seed, height=48, width=60, count=3):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 4, 5, 1)).astype(np.float32) * 2
    masks = jax.nn.softmax(resize_bilinear(jnp.asarray(logits), (height, width)), 0)
    flow = 5 * rng.normal(size=(height, width, 2)) + rng.normal(size=2) * 10
    return np.asarray(masks[..., 0]), flow.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_that_of_least_squares(seed):
    masks, flow = scene(seed)
    recon, theta = by_least_squares(masks, flow)
    found = quadratic_flow(masks, flow)
    np.testing.assert_allclose(found.recon, recon, atol=1e-4)
    np.testing.assert_allclose(found.theta, theta, rtol=2e-4, atol=2e-3)
    slope = by_formula(masks, flow)
    error = np.abs(jax.grad(flow_loss)(masks, flow) - slope)
    assert error.max() < 2e-5 * np.abs(slope).max()


@pytest.mark.parametrize("size_hw", [(120, 200), (97, 333)])
def test_large_frames_have_the_fit_and_gradients_of_the_definition(size_hw):
    """Compiled as a whole, XLA once summed the masks of large frames wrongly."""
    masks, flow = scene(0, *size_hw, count=4)
    slope = by_formula(masks, flow)

    def all_of(masks, flow):
        slopes = jax.grad(flow_loss, (0, 1))(masks, flow)
        return quadratic_flow(masks, flow).recon, *slopes

    recon, by_masks, by_flow = jax.jit(all_of)(masks, flow)
    exact, _ = by_least_squares(masks, flow)
    np.testing.assert_allclose(recon, exact, atol=1e-4)
    assert np.abs(by_masks - slope).max() < 2e-5 * np.abs(slope).max()
    # The loss is a square of the flow: Euler's identity, and a difference.
    way = np.random.default_rng(1).normal(size=flow.shape)

    def value(step):
        moved = flow.astype(np.float64) + step * way
        return np.mean((moved - by_least_squares(masks, moved)[0]) ** 2)

    assert (np.asarray(by_flow) * flow).sum() == pytest.approx(2 * value(0), rel=1e-4)
    expected = (value(1e-3) - value(-1e-3)) / 2e-3
    assert (np.asarray(by_flow) * way).sum() == pytest.approx(expected, rel=1e-3)
    batched = jax.jit(jax.vmap(all_of))(masks[None], flow[None])
    assert np.abs(batched[1][0] - slope).max() < 2e-5 * np.abs(slope).max()
    np.testing.assert_allclose(batched[2][0], by_flow, atol=1e-8)


def test_a_small_mask_loses_no_digits():
    """A disc of 12 pixels in an image of 480 x 854, where raw normal equations fail."""
    i, j = np.ogrid[:480, :854]
    far = ((i - 100) ** 2 + (j - 700) ** 2) ** 0.5 - 12
    disc = 0.5 - 0.5 * np.tanh(far / 2)
    masks = np.stack([disc, 1 - disc]).astype(np.float32)
    flow = np.random.default_rng(0).normal(size=(480, 854, 2)).astype(np.float32)
    slope = by_formula(masks, flow)
    error = np.abs(jax.grad(flow_loss)(masks, flow) - slope)
    assert error.max() < 2e-5 * np.abs(slope).max()


@pytest.mark.parametrize("seed", range(3))
def test_a_flow_of_quadratic_parts_is_fitted_without_a_rest(seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, (4, 5)).repeat(8, 0).repeat(8, 1)
    masks = (label == np.arange(3)[:, None, None]).astype(np.float32)
    theta = rng.normal(size=(3, 6, 2)) * 10
    parts = (basis(32, 40) @ theta).reshape(3, 32, 40, 2)
    flow = (masks[..., None] * parts).sum(0).astype(np.float32)
    assert flow_loss(masks, flow) < 1e-9
    merged = np.stack([masks[0] + masks[1], masks[2]])
    assert flow_loss(merged, flow) > 1e-2


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_differences(seed):
    """Of reconstruction and coefficients, by masks and flow."""
    rng = np.random.default_rng(seed)
    masks, flow = scene(seed, 9, 11, 2)
    of_recon = rng.normal(size=flow.shape)
    of_theta = 0.1 * rng.normal(size=(2, 6, 2))

    def total(masks, flow):
        found = quadratic_flow(masks, flow)
        return (found.recon * jnp.float32(of_recon)).sum() + (
            found.theta * jnp.float32(of_theta)
        ).sum()

    def exact(masks, flow):
        recon, theta = by_least_squares(masks, flow)
        return (recon * of_recon).sum() + (theta * of_theta).sum()

    slopes = jax.grad(total, (0, 1))(masks, flow)
    given = [np.asarray(x, np.float64) for x in (masks, flow)]
    for k, slope in enumerate(slopes):
        way = rng.normal(size=given[k].shape)
        ends = []
        for step in (-1e-5, 1e-5):
            moved = list(given)
            moved[k] = moved[k] + step * way
            ends.append(exact(*moved))
        expected = (ends[1] - ends[0]) / 2e-5
        assert (np.asarray(slope) * way).sum() == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    "masks",
    [
        np.zeros((2, 8, 9)),
        np.concatenate([np.zeros((1, 8, 9)), np.ones((1, 8, 9))]),
        np.eye(8, 9)[None] * (np.arange(8) == 3)[None, :, None],  # One pixel.
        (np.arange(9) == 4)[None, None] * np.ones((1, 8, 9)),  # One column.
        np.full((1, 8, 9), 1e-20),
    ],
)
def test_masks_with_too_few_pixels_have_finite_fits(masks):
    flow = np.random.default_rng(0).normal(size=(8, 9, 2)).astype(np.float32)
    masks = masks.astype(np.float32)
    found = quadratic_flow(masks, flow)
    slopes = jax.grad(flow_loss, (0, 1))(masks, flow)
    for x in (*found, *slopes):
        assert np.isfinite(x).all()
    if masks.max() == 1:
        inside = masks.max(0) > 0.5
        recon, _ = by_least_squares(masks, flow)
        np.testing.assert_allclose(found.recon[inside], recon[inside], atol=1e-3)


def test_a_batch_is_its_frames_one_by_one_inside_jit():
    frames = [scene(seed) for seed in range(3)]
    masks, flow = (np.stack(part) for part in zip(*frames, strict=True))
    step = jax.jit(jax.vmap(jax.value_and_grad(flow_loss)))
    values, slopes = step(masks, flow)
    assert values.dtype == slopes.dtype == jnp.float32
    for n, (m, f) in enumerate(frames):
        value, slope = jax.value_and_grad(flow_loss)(m, f)
        assert values[n] == pytest.approx(float(value), rel=1e-6)
        np.testing.assert_allclose(slopes[n], slope, atol=1e-7)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_fit_and_its_gradient_lower_for_every_device(platform):
    given = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, 48, 60), (48, 60, 2))]
    step = jax.jit(jax.value_and_grad(flow_loss))
    text = jax.export.export(step, platforms=[platform])(*given).mlir_module()
    assert ("f64" in text) == (platform != "tpu")
