"""Losses of motion on one core, beside what one would write at first.

The tail's references are singular values by `jnp.linalg.svd` with its own gradient, and
by NumPy with the gradient written by hand; both in float32, as the published loss. The
flow fit's is least squares by `jnp.linalg.qr`, differentiated. Errors are against
float64.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import one_core
from bench_rows import line

from egojax.ops.flow import flow_loss
from egojax.ops.subspace import lowrank_tail

FRAMES, MASKS, RANK = 41, 4, 5
SIZE_HW = (480, 854)


def rows() -> Iterator[dict[str, Any]]:
    """All lines of this suite, from a process on one core."""
    return one_core.rows_of(__file__)


def one_core_rows() -> Iterator[dict[str, Any]]:
    for num in (7_000, 70_000):
        yield from tail_rows(num, turns=5 if num < 10_000 else 2)
    yield flow_row(SIZE_HW)


# -------------------------------------------------------------------------- the tail


def trajectories(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four bodies of noisy points under affine motions, and soft masks; pixels."""
    rng = np.random.default_rng(seed)
    parts = []
    for count in (num - 3 * (num // 4), *[num // 4] * 3):
        points = np.concatenate([rng.uniform(0, 480, (2, count)), np.ones((1, count))])
        turn = np.eye(2, 3) + np.cumsum(0.01 * rng.normal(size=(FRAMES, 2, 3)), 0)
        turn[:, :, 2] += np.cumsum(3 * rng.normal(size=(FRAMES, 2)), 0)
        parts.append(np.moveaxis(turn @ points, 1, 0).reshape(2 * FRAMES, count))
    columns = np.concatenate(parts, 1) + 0.3 * rng.normal(size=(2 * FRAMES, num))
    logits = rng.normal(size=(MASKS, num))
    masks = np.exp(logits) / np.exp(logits).sum(0)
    return columns.astype(np.float32), masks.astype(np.float32)


def by_numpy(columns: np.ndarray, masks: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean tail, and its gradient by the masks."""
    total, slopes = 0.0, []
    for mask in masks:
        u, s, v = np.linalg.svd(columns * mask, full_matrices=False)
        total += s[RANK:].sum()
        slopes.append(((u[:, RANK:] @ v[RANK:]) * columns).sum(0))
    return total / len(masks), np.stack(slopes) / len(masks)


@jax.jit
@jax.value_and_grad
def by_jax(masks: Any, columns: Any) -> Any:
    """The mean tail by `jnp.linalg.svd`."""

    def one(mask: Any) -> Any:
        scaled = columns * mask[None]
        return jnp.linalg.svd(scaled, full_matrices=False, compute_uv=False)[
            RANK:
        ].sum()

    return jax.vmap(one)(masks).mean()


def tail_rows(num: int, turns: int) -> Iterator[dict[str, Any]]:
    """A line a method; the references run once a turn, with all of them."""
    columns, masks = trajectories(num)
    on_device = jax.device_put((masks, columns))
    value, slope = by_numpy(columns.astype(np.float64), masks.astype(np.float64))

    def mean_tail(method: str) -> Any:
        def loss(masks: Any, columns: Any) -> Any:
            return lowrank_tail(columns, masks, RANK, method=method).mean()

        return jax.jit(jax.value_and_grad(loss))

    calls = {name: mean_tail(name) for name in ("gram64", "qr32", "deflate32")}
    found = {
        name: one_core.first_call(lambda f=f: f(*on_device))
        for name, f in calls.items()
    }
    jax.block_until_ready(by_jax(*on_device))
    timed = [*calls.values(), by_jax]
    times = one_core.cpu_ms(
        [
            *(lambda f=f: jax.block_until_ready(f(*on_device)) for f in timed),
            lambda: by_numpy(columns, masks),
        ],
        turns,
    )
    # Half of a product of all masks' rows, by symmetry, and one of their slopes.
    flops = 2 * MASKS * num * len(columns) * (len(columns) / 2 + len(columns) - RANK)
    floor = one_core.machine().floor_ms(flops, 4 * num * (len(columns) + 2 * MASKS))
    for (name, ((loss, by_masks), compile_s)), ours in zip(
        found.items(), times, strict=False
    ):
        error = abs(float(loss) - value) / value
        yield line(
            f"low-rank tail and gradient, {FRAMES} x {num}, {name}",
            ours,
            reference=times[-2],
            simple=times[-1],
            error=error,
            compile_s=compile_s,
            note=f"gradient {one_core.largest_error(by_masks, slope):.1e}; "
            + one_core.floor_note(ours, floor),
        )


# -------------------------------------------------------------------------- the flow


def plain_flow_loss(masks: Any, flow: Any) -> Any:
    """As the published code: a QR of each mask's weighted design matrix."""
    height, width = flow.shape[:2]
    x, y = jnp.meshgrid(
        jnp.arange(height) / height, jnp.arange(width) / width, indexing="ij"
    )
    basis = jnp.stack([x, y, x * x, y * y, x * y, jnp.ones_like(x)], -1).reshape(-1, 6)
    target = flow.reshape(-1, 2)

    def one(mask: Any) -> Any:
        mask = mask.reshape(-1, 1)
        q, r = jnp.linalg.qr(mask * basis)
        theta = jax.scipy.linalg.solve_triangular(r, q.T @ (mask * target))
        return mask * (basis @ theta)

    return jnp.mean((target - jax.vmap(one)(masks).sum(0)) ** 2)


def flow_row(size_hw: tuple[int, int], turns: int = 3) -> dict[str, Any]:
    """The quadratic fit and the gradient by the masks."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(MASKS, 6, 10)).astype(np.float32)
    logits = jax.image.resize(jnp.asarray(coarse), (MASKS, *size_hw), "linear")
    masks = jax.nn.softmax(4 * logits, 0)
    flow = jnp.asarray(rng.normal(size=(*size_hw, 2)).astype(np.float32))
    ours = jax.jit(jax.value_and_grad(flow_loss))
    plain = jax.jit(jax.value_and_grad(plain_flow_loss))
    (_, slope), compile_s = one_core.first_call(lambda: ours(masks, flow))
    jax.block_until_ready(plain(masks, flow))
    times = one_core.cpu_ms(
        [lambda f=f: jax.block_until_ready(f(masks, flow)) for f in (ours, plain)],
        turns,
    )
    with jax.enable_x64(True):
        wide = masks.astype(jnp.float64), flow.astype(jnp.float64)
        exact = np.asarray(jax.grad(plain_flow_loss)(*wide))
    # Masks, flow and slope are read or written once.
    floor = one_core.machine().floor_ms(0.0, 4 * (2 * masks.size + flow.size))
    return line(
        f"flow fit and gradient, {size_hw[0]} x {size_hw[1]}, {MASKS} masks",
        times[0],
        reference=times[1],
        error=one_core.largest_error(slope, exact),
        compile_s=compile_s,
        note="error of the gradient; " + one_core.floor_note(times[0], floor),
    )


if __name__ == "__main__":
    one_core.print_rows(one_core_rows())
