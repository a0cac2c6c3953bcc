"""A mean as an accumulator: what training logs, and plain averages, are made of."""

from typing import Any

import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Mean:
    """A weighted sum and its weight; a pytree that may cross jit.

    The mean of nothing is NaN.
    """

    total: Any
    weight: Any

    @classmethod
    def of(cls, values: Any, weight: Any = None) -> "Mean":
        """Sums an array over all axes.

        Args:
          values: A number or an array.
          weight: Weights or booleans of the same shape; None = all 1. An entry of
            weight 0 may hold anything, NaN too.
        """
        values = jnp.asarray(values)
        if weight is None:
            return cls(values.sum(), jnp.asarray(values.size, values.dtype))
        weight = jnp.asarray(weight, values.dtype)
        kept = jnp.where(weight > 0, values, 0)
        return cls((kept * weight).sum(), weight.sum())

    def update(self, values: Any, weight: Any = None) -> "Mean":
        """Adds more values; arguments as in `of`."""
        return self.merge(Mean.of(values, weight))

    def merge(self, other: "Mean") -> "Mean":
        """The values of both."""
        return Mean(self.total + other.total, self.weight + other.weight)

    def compute(self) -> Any:
        """Total over weight."""
        some = self.weight > 0
        return jnp.where(some, self.total / jnp.where(some, self.weight, 1), jnp.nan)
