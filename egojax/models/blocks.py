"""What several networks are made of, and what all fields answer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float


class Samples(NamedTuple):
    """What a field says of the samples of rays."""

    density: Float[Array, "Q *batch S"]  # >= 0, 1 / scene unit.
    rgb: Float[Array, "Q *batch S 3"]
    beta: Float[
        Array, "P *batch S"
    ]  # Uncertainty of the P = Q - 1 streams that change.


class Affine(nnx.Module):
    """x W + b, where x may be parts of samples and parts of rays."""

    def __init__(self, din: int, dout: int, dtype: str, rngs: nnx.Rngs):
        bound = din**-0.5
        kernel = jax.random.uniform(rngs.params(), (din, dout), minval=-1.0)
        bias = jax.random.uniform(rngs.params(), (dout,), minval=-1.0)
        self.kernel = nnx.Param(bound * kernel)
        self.bias = nnx.Param(bound * bias)
        self.dtype = dtype

    def __call__(self, x: Array, per_ray: Array | None = None) -> Array:
        """Of x (*batch, S, A) and of what a ray's samples share, (*batch, B)."""
        split = x.shape[-1]
        kernel, offset = self.kernel[...], self.bias[(None,) * (x.ndim - 1)]
        if per_ray is not None:
            offset = offset + self._product(per_ray, kernel[split:])[..., None, :]
        return self._product(x, kernel[:split]) + offset

    def _product(self, x: Array, kernel: Array) -> Array:
        # One product of two matrices: with more axes XLA's gradient of the kernel first
        # copies what it is given into its transpose.
        rows = x.reshape(-1, x.shape[-1])
        product = jnp.matmul(
            rows.astype(self.dtype),
            kernel.astype(self.dtype),
            preferred_element_type=jnp.float32,
        )
        return product.reshape(*x.shape[:-1], kernel.shape[-1])


def attention(
    queries: Float[Array, "B Q E"],
    keys: Float[Array, "B N E"],
    values: Float[Array, "B N E"],
    heads: int,
    *,
    drop: Callable[[Array], Array] | None = None,
    chunk: int = 512,
) -> Float[Array, "B Q E"]:
    """Softmax attention of several heads, which lie side by side in E.

    Args:
      queries, keys, values: Of one type, that of the products; softmax is in float32.
      heads: E divides by it.
      drop: What becomes of the weights (B, heads, Q, N) before they are used.
      chunk: Queries at once, without `drop`: of many, not all weights are then held.
    """
    (batch, count, width), precision = queries.shape, _precision(queries.dtype)
    keys, values = (x.reshape(batch, -1, heads, width // heads) for x in (keys, values))

    def some(part: Array) -> Array:
        part = part.reshape(batch, -1, heads, width // heads)
        kinds = dict(precision=precision, preferred_element_type=jnp.float32)
        scores = jnp.einsum("bqhd,bnhd->bhqn", part, keys, **kinds)
        shares = jax.nn.softmax(scores * (width // heads) ** -0.5, axis=-1)
        shares = shares if drop is None else drop(shares)
        shares = shares.astype(values.dtype)
        found = jnp.einsum("bhqn,bnhd->bqhd", shares, values, **kinds)
        return found.astype(values.dtype).reshape(batch, -1, width)

    if count <= chunk or drop is not None:  # One draw for all.
        return some(queries)
    padded = jnp.pad(queries, ((0, 0), (0, -count % chunk), (0, 0)))
    parts = jnp.moveaxis(padded.reshape(batch, -1, chunk, width), 1, 0)
    found = jnp.moveaxis(lax.map(some, parts), 0, 1)
    return found.reshape(batch, -1, width)[:, :count]


def _precision(dtype: Any) -> lax.Precision:
    """GPUs and TPUs round float32 operands, unless told not to."""
    is_wide = jnp.dtype(dtype) == jnp.float32
    return lax.Precision.HIGHEST if is_wide else lax.Precision.DEFAULT


def products(dtype: str) -> dict[str, Any]:
    """What layers of `flax.nnx` are to be told for products in this type."""
    return {"dtype": jnp.dtype(dtype), "precision": _precision(dtype)}
