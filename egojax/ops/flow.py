"""Optical flow that is, inside each mask, a quadratic polynomial of the position.

What a plane does before a moving camera is nearly that. Rows and columns count as
x = row / H and y = column / W, both in [0, 1).

Source: Choudhury et al. 2022 (Guess What Moves), as in Karazija et al. 2024 (LRTL),
`losses/flow_reconstruction.py`. Differs: sums of powers, which are products of a row's
and a column's part, in place of a QR of all pixels; coordinates of each mask's own, so
that small masks lose no digits; a ridge, so that an empty mask has the polynomial 0; a
gradient in closed form.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from egojax.ops.numerics import dot_rows, in_float64, safe_divide
from egojax.types import ArrayLike, typed

# Powers of x and y of the basis (x, y, x^2, y^2, x y, 1), in the official order.
POWERS = np.array([(1, 0), (0, 1), (2, 0), (0, 2), (1, 1), (0, 0)])
RIDGE = 1e-12  # Of the mean diagonal entry; scaled coordinates keep those near 1.


class QuadraticFlow(NamedTuple):
    """The fit of a flow by masks."""

    recon: Float[Array, "H W 2"]  # Sum over masks of the mask times its polynomial.
    theta: Float[Array, "K 6 2"]  # Of (x, y, x^2, y^2, x y, 1), u and v.


class _Frame(NamedTuple):
    """Coordinates of a mask: powers of (x - center) / spread, up to the fourth."""

    rows: Array  # (K, 5, H)
    columns: Array  # (K, 5, W)
    back: Array  # (K, 6, 6): coefficients in these coordinates to those in x and y.


@jax.jit
@typed
def quadratic_flow(
    masks: Float[ArrayLike, "K H W"], flow: Float[ArrayLike, "H W 2"]
) -> QuadraticFlow:
    """The least-squares quadratic of each mask's flow, and what all make of the flow.

    Args:
      masks: >= 0; a pixel of the fit has the weight of its square.
      flow: Of any unit; finite.

    Returns:
      Differentiable in masks and flow. A mask of zeros has the polynomial 0.
    """
    recon, theta = _fit(jnp.asarray(masks), jnp.asarray(flow))
    return QuadraticFlow(recon, theta)


@jax.jit
@typed
def flow_loss(
    masks: Float[ArrayLike, "K H W"], flow: Float[ArrayLike, "H W 2"]
) -> Float[Array, ""]:
    """The mean square, over pixels and both components, of what the fit leaves."""
    flow = jnp.asarray(flow)
    return jnp.mean((flow - quadratic_flow(masks, flow).recon) ** 2)


@jax.custom_vjp
def _fit(masks: Array, flow: Array) -> tuple[Array, Array]:
    return _forward(masks, flow)[:2]


def _fit_fwd(masks: Array, flow: Array) -> tuple:
    recon, theta, *saved = _forward(masks, flow)
    return (recon, theta), (masks, flow, *saved)


def _fit_bwd(saved: tuple, slopes: tuple[Array, Array]) -> tuple[Array, Array]:
    """With G the normal matrix, L = G^-1 (sum m b r^T + the slope by theta).

    The slope by m is r (b theta) + 2 m (b L) (F - b theta), that by F is m^2 (b L).
    Here G is of m / size, which is 1 somewhere, and the lever is size L, so that thin
    masks are not lost.
    """
    masks, flow, frame, size, inverse, planes = saved
    by_recon, by_theta = slopes
    parts = jnp.moveaxis(by_recon, -1, 0)
    even = masks / size
    by_theta = by_theta / size
    solved = _by_device(_lever, even, parts, by_theta, frame, inverse)
    lever = even[:, None] * _polynomials(solved, frame)
    left = jnp.moveaxis(flow, -1, 0)[None] - planes
    by_masks = parts[None] * planes + 2 * lever * left
    by_flow = (masks[:, None] * lever).sum(0)
    return by_masks.sum(1), jnp.moveaxis(by_flow, 0, -1)


_fit.defvjp(_fit_fwd, _fit_bwd)


def _by_device(fn: Callable[..., Any], *args: Any) -> Any:
    """`fn` of a type and these: float64, on a TPU float32."""
    return lax.platform_dependent(
        *args,
        tpu=functools.partial(fn, jnp.float32),
        default=functools.partial(in_float64, functools.partial(fn, np.float64)),
    )


def _forward(masks: Array, flow: Array) -> tuple:
    """The fit, and what its gradient needs."""
    largest = masks.max((1, 2), keepdims=True, initial=0.0)
    size = jnp.where(largest > 0, largest, 1.0)  # (K, 1, 1)
    frame = _frame(masks / size)
    theta, own, inverse = _by_device(_normal, masks / size, flow, frame)
    planes = _polynomials(own, frame)  # (K, 2, H, W)
    parts = jnp.zeros(planes.shape[1:], planes.dtype)
    # One by one: XLA for CPUs (jax 0.10) sums them wrongly where they are kept as well.
    for mask, plane in zip(masks, planes, strict=True):
        parts += mask[None] * plane
    recon = jnp.moveaxis(parts, 0, -1)
    return recon, theta, frame, size, inverse, planes


def _normal(
    dtype: Any, masks: Array, flow: Array, frame: _Frame
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Coefficients in x and y and in the mask's own coordinates; the inverse of G."""
    square = masks.astype(dtype) ** 2
    parts = jnp.moveaxis(flow, -1, 0).astype(dtype)
    weighed = jnp.concatenate([square[:, None], square[:, None] * parts[None]], axis=1)
    sums = _sums(weighed, frame)  # (K, 3, 5, 5)
    i, j = (POWERS[:, None] + POWERS[None]).transpose(2, 0, 1)
    gram = sums[:, 0, i, j]
    size = jnp.trace(gram, axis1=1, axis2=2)[:, None, None] / len(POWERS)
    ridge = jnp.where(size > 0, RIDGE * size, 1.0) * jnp.eye(6, dtype=dtype)[None]
    inverse = jnp.linalg.inv(gram + ridge)
    own = dot_rows(inverse, _of_basis(sums[:, 1:]))
    theta = dot_rows(frame.back.astype(dtype), jnp.swapaxes(own, 1, 2))
    # In two parts, so that none of it is lost on the way to the gradient.
    high = inverse.astype(jnp.float32)
    return theta, own, (high, (inverse - high.astype(dtype)).astype(jnp.float32))


def _lever(
    dtype: Any,
    masks: Array,
    parts: Array,
    by_theta: Array,
    frame: _Frame,
    inverse: tuple[Array, Array],
) -> Array:
    """L, in each mask's own coordinates, (K, 6, 2)."""
    weighed = masks.astype(dtype)[:, None] * parts.astype(dtype)[None]
    back = jnp.swapaxes(frame.back.astype(dtype), 1, 2)
    more = dot_rows(back, jnp.swapaxes(by_theta.astype(dtype), 1, 2))
    right = _of_basis(_sums(weighed, frame)) + jnp.swapaxes(more, 1, 2)
    high, low = (x.astype(dtype) for x in inverse)
    return dot_rows(high + low, right)


def _frame(masks: Array) -> _Frame:
    """Coordinates that are centred on a mask and as wide as it is."""
    height, width = masks.shape[1:]
    square = masks**2
    rows = _powers(square.sum(2), height)
    columns = _powers(square.sum(1), width)
    (x, wide), (y, high) = rows[1:], columns[1:]
    one, none = jnp.ones_like(x), jnp.zeros_like(x)
    a, b, p, q = 1 / wide, 1 / high, -x / wide, -y / high
    back = [  # Rows: x, y, x^2, y^2, x y, 1. Columns: the same, of the mask.
        [a, none, 2 * a * p, none, a * q, none],
        [none, b, none, 2 * b * q, b * p, none],
        [none, none, a * a, none, none, none],
        [none, none, none, b * b, none, none],
        [none, none, none, none, a * b, none],
        [p, q, p * p, q * q, p * q, one],
    ]
    back = jnp.stack([jnp.stack(row, -1) for row in back], -2)
    return _Frame(rows[0], columns[0], back)


def _powers(share: Array, side: int) -> tuple[Array, Array, Array]:
    """Powers (K, 5, side) along an axis, of what is centred; centre and spread (K,)."""
    at = jnp.arange(side, dtype=share.dtype)[None] / side
    total = share.sum(1, keepdims=True)
    center = safe_divide((share * at).sum(1, keepdims=True), total, 0.5)
    far = safe_divide((share * (at - center) ** 2).sum(1, keepdims=True), total, 0.08)
    spread = jnp.maximum(2 * jnp.sqrt(far), 1 / side)
    own = (at - center) / spread
    powers = jnp.stack([own**n for n in range(5)], axis=1)
    return powers, center[:, 0], spread[:, 0]


def _sums(weights: Array, frame: _Frame) -> Array:
    """Sums of (K, C, H, W) times powers of rows and of columns, (K, C, 5, 5)."""
    count, parts, height, width = weights.shape
    rows, columns = (x.astype(weights.dtype) for x in frame[:2])
    flat = weights.reshape(count, parts * height, width)
    found = dot_rows(flat, columns).reshape(count, parts, height, 5)
    found = jnp.moveaxis(found, 2, -1).reshape(count, parts * 5, height)
    found = dot_rows(found, rows).reshape(count, parts, 5, 5)
    return jnp.swapaxes(found, -1, -2)


def _of_basis(sums: Array) -> Array:
    """Those of the six basis functions, transposed for `dot_rows`: (K, C, 6)."""
    return sums[:, :, POWERS[:, 0], POWERS[:, 1]]


def _polynomials(coefficients: Array, frame: _Frame) -> Array:
    """(K, 2, H, W) of coefficients (K, 6, 2) in the masks' own coordinates."""
    table = jnp.zeros((len(coefficients), 2, 3, 3), coefficients.dtype)
    table = table.at[:, :, POWERS[:, 0], POWERS[:, 1]].set(
        jnp.swapaxes(coefficients, 1, 2)
    )
    return jnp.einsum(
        "kcab,kah,kbw->kchw",
        *(table, frame.rows[:, :3], frame.columns[:, :3]),
        precision=lax.Precision.HIGHEST,
    )
