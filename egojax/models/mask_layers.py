"""Sizes of the published mask head, and the layers that it is made of.

Source of the initial weights: LRTL's code, and PyTorch's where that says nothing.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import variance_scaling
from jaxtyping import Array

from egojax.models.blocks import products

# Uniform within sqrt(3 / inputs); PyTorch's own choice, 1 / sqrt(inputs); and within
# sqrt(6 / (inputs + outputs)), where queries, keys and values are one matrix of three.
KAIMING = variance_scaling(1.0, "fan_in", "uniform")
PYTORCH = variance_scaling(1 / 3, "fan_in", "uniform")
XAVIER = variance_scaling(1.0, "fan_avg", "uniform")


@dataclasses.dataclass(frozen=True)
class MaskHeadConfig:
    """Sizes of the head; the defaults are the published ones."""

    num_masks: int = 4
    features: int = 768  # Channels of what comes in.
    width: int = 256
    groups: int = 32  # Of the norms.
    heads: int = 8
    layers: int = 6  # Of the decoder.
    hidden: int = 2048
    dropout: float = 0.1
    dtype: str = "float32"  # Of products; "bfloat16" is faster.


def conv(
    config: MaskHeadConfig,
    rngs: nnx.Rngs,
    channels: int,
    kernel: int,
    *,
    pad: int = 1,
    kernel_init: Callable = KAIMING,
    bias: bool = False,
) -> nnx.Conv:
    """To `config.width` channels, with as many zeros around as `pad` says."""
    return nnx.Conv(
        *(channels, config.width, (kernel, kernel)),
        padding=((pad, pad), (pad, pad)),
        use_bias=bias,
        kernel_init=kernel_init,
        bias_init=_within(channels * kernel**2),
        rngs=rngs,
        **products(config.dtype),
    )


def linear(
    config: MaskHeadConfig,
    rngs: nnx.Rngs,
    din: int,
    dout: int,
    kernel_init: Callable = PYTORCH,
) -> nnx.Linear:
    """With a bias."""
    return nnx.Linear(
        *(din, dout),
        kernel_init=kernel_init,
        bias_init=_within(din),
        rngs=rngs,
        **products(config.dtype),
    )


def _within(inputs: int) -> Callable:
    """PyTorch's own choice of a bias: uniform within 1 / sqrt(inputs)."""

    def init(key: jax.Array, shape: tuple, dtype: Any, **_: object) -> Array:
        bound = inputs**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def group_norm(config: MaskHeadConfig, rngs: nnx.Rngs) -> nnx.GroupNorm:
    """Of pixels' channels, in groups."""
    return nnx.GroupNorm(
        config.width,
        num_groups=config.groups,
        epsilon=1e-5,
        use_fast_variance=False,
        dtype=jnp.dtype(config.dtype),
        rngs=rngs,
    )


def layer_norm(config: MaskHeadConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Of queries' channels."""
    return nnx.LayerNorm(config.width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
