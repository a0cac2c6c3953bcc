"""The transformer of the published mask head: what each mask looks for.

Source: Karazija et al. 2024 (LRTL), `transformer_predictor.py`, after Carion et al.
2020 (DETR), without an encoder.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import variance_scaling
from jaxtyping import Array

from egojax.models.blocks import attention, products
from egojax.models.mask_layers import (
    KAIMING,
    XAVIER,
    MaskHeadConfig,
    layer_norm,
    linear,
)
from egojax.ops.encoding import sine_grid


class QueryDecoder(nnx.Module):
    """What each mask looks for, found in a map of features."""

    def __init__(self, config: MaskHeadConfig, rngs: nnx.Rngs):
        self.config = config
        width = config.width
        self.input = nnx.Conv(
            *(config.features, width, (1, 1)),
            kernel_init=KAIMING,
            rngs=rngs,
            **products(config.dtype),
        )
        shape = (config.num_masks, width)
        self.queries = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.layers = nnx.List(
            [DecoderLayer(config, rngs) for _ in range(config.layers)]
        )
        self.norm = layer_norm(config, rngs)
        self.embed = nnx.List([linear(config, rngs, width, width) for _ in range(3)])

    def __call__(self, features: Array, key: jax.Array | None) -> Array:
        """(B, K, width), of the last map of features."""
        batch, height, width, _ = features.shape
        memory = self.input(features).astype(jnp.float32)
        memory = memory.reshape(batch, height * width, -1)
        where = jnp.asarray(sine_grid((height, width), self.config.width // 2))
        where = where.reshape(1, height * width, -1)
        queries = self.queries[...][None]
        x = jnp.zeros((batch, *queries.shape[1:]), jnp.float32)
        for number, layer in enumerate(self.layers):
            noise = None if key is None else jax.random.fold_in(key, number)
            x = layer(x, queries, memory, memory + where, noise)
        x = self.norm(x)
        first, second, last = self.embed
        return last(jax.nn.relu(second(jax.nn.relu(first(x)))))


class DecoderLayer(nnx.Module):
    """Queries look at each other, then at the features; each norm comes after a sum."""

    def __init__(self, config: MaskHeadConfig, rngs: nnx.Rngs):
        width, hidden = config.width, config.hidden
        self.own = Attention(config, rngs)
        self.cross = Attention(config, rngs)
        self.linear1 = linear(config, rngs, width, hidden, XAVIER)
        self.linear2 = linear(config, rngs, hidden, width, XAVIER)
        self.norm1 = layer_norm(config, rngs)
        self.norm2 = layer_norm(config, rngs)
        self.norm3 = layer_norm(config, rngs)
        self.rate = config.dropout

    def __call__(
        self,
        x: Array,
        queries: Array,
        memory: Array,
        placed: Array,
        key: jax.Array | None,
    ) -> Array:
        """The next x (B, K, width).

        Args:
          queries: (1, K, width), added wherever x asks.
          memory: (B, N, width), the features,
          placed: and the same with their positions added.
        """
        drop = [self._drop(key, number) for number in range(6)]
        asked = x + queries
        x = self.norm1(x + drop[0](self.own(asked, asked, x, drop[1])))
        found = self.cross(x + queries, placed, memory, drop[2])
        x = self.norm2(x + drop[3](found))
        inner = drop[4](jax.nn.relu(self.linear1(x)))
        return self.norm3(x + drop[5](self.linear2(inner)))

    def _drop(self, key: jax.Array | None, number: int) -> Callable[[Array], Array]:
        if key is None or not self.rate:
            return lambda x: x
        own, rate = jax.random.fold_in(key, number), self.rate

        def drop(x: Array) -> Array:
            kept = jax.random.bernoulli(own, 1 - rate, x.shape)
            return jnp.where(kept, x / (1 - rate), jnp.zeros_like(x))

        return drop


class Attention(nnx.Module):
    """Attention of several heads, of what two sides are made into by layers."""

    def __init__(self, config: MaskHeadConfig, rngs: nnx.Rngs):
        width, kind = config.width, products(config.dtype)
        # As one matrix of width x 3 width it has half the variance of three.
        third = variance_scaling(0.5, "fan_avg", "uniform")
        self.query = nnx.Linear(width, width, kernel_init=third, rngs=rngs, **kind)
        self.key = nnx.Linear(width, width, kernel_init=third, rngs=rngs, **kind)
        self.value = nnx.Linear(width, width, kernel_init=third, rngs=rngs, **kind)
        self.out = nnx.Linear(width, width, kernel_init=XAVIER, rngs=rngs, **kind)
        self.heads = config.heads

    def __call__(
        self, asked: Array, keys: Array, values: Array, drop: Callable[[Array], Array]
    ) -> Array:
        """(B, Q, width), of what (B, Q, width) asks of (B, N, width)."""
        made = self.query(asked), self.key(keys), self.value(values)
        return self.out(attention(*made, self.heads, drop=drop))
