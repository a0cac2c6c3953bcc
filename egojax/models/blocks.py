"""What several networks are made of, and what all fields answer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
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
