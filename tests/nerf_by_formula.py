"""The published test weights of the networks, and how rays are made for them."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from egojax.models import nerf
from egojax.models.blocks import Affine
from egojax.models.nerf import Nerf, NerfConfig

SMALL = NerfConfig(width=64, num_slots=10)


def layers_of(model: Nerf) -> list[tuple[Affine, int]]:
    """All layers in the published order, and the inputs that only padding adds."""
    order = []
    for field in (model.coarse, model.fine):
        order += [*field.trunk, field.feature, field.color, field.density, field.rgb]
    order = [(layer, 0) for layer in order]
    for field in (model.moving, model.actor):
        pad = [1 if field is model.actor and not i else 0 for i in range(nerf.HEAD)]
        order += list(zip(field.layers, pad, strict=True))
        order += [(field.density, 0), (field.rgb, 0), (field.beta, 0)]
    return order


def by_formula(config: NerfConfig = SMALL) -> Nerf:
    """The published test weights: a cosine of the position in the tensor."""
    model = Nerf(config, rngs=nnx.Rngs(0))

    def wave(size: int, k: int, scale: float) -> np.ndarray:
        return scale * np.cos(0.7 * np.arange(size) + 1.3 * k)

    for i, (layer, pad) in enumerate(layers_of(model)):
        din, dout = layer.kernel.shape
        weight = wave(dout * (din + pad), 2 * i, 1.5 / (din + pad) ** 0.5)
        weight = weight.reshape(dout, din + pad)[:, :din].T
        layer.kernel[...] = jnp.asarray(weight, jnp.float32)
        layer.bias[...] = jnp.asarray(wave(dout, 2 * i + 1, 0.1), jnp.float32)
    shape, size = model.time.shape, model.time.size
    table = 0.3 * np.sin(0.9 * np.arange(size)).reshape(shape)
    model.time[...] = jnp.asarray(table, jnp.float32)
    shape, size = model.appearance.shape, model.appearance.size
    table = 0.5 * np.sin(0.11 * np.arange(size)).reshape(shape)
    model.appearance[...] = jnp.asarray(table, jnp.float32)
    return model


def unit(*rows) -> jnp.ndarray:
    rows = np.float64(rows)
    return jnp.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), jnp.float32)
