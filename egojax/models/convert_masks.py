"""Published weights of LRTL and DINO in our networks, by tables of names."""

from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from egojax.models.dino import Dino, DinoConfig
from egojax.models.weights import Row, from_published, layer_rows

State = Mapping[str, np.ndarray]
BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def dino_from_official(
    state: State, config: DinoConfig, where: str = "weights"
) -> Dino:
    """The network of an official file, such as dino_vitbase8_pretrain.pth.

    Args:
      state: Tensors as arrays.
      config: Which network it is, and what is wanted of it.
      where: What errors begin with.

    Raises:
      UsageError: a line for each name or shape that does not fit.
    """

    def init(key: jax.Array) -> Dino:
        return Dino(config, rngs=nnx.Rngs(key))

    return from_published(init, dino_table(config), state, where)


def dino_table(config: DinoConfig) -> list[Row]:
    """All weights that are published; those behind the last keys are not needed."""
    rows = [Row("cls_token", "first"), Row("pos_embed", "positions")]
    rows += layer_rows("patch_embed.proj", "patch")
    last = max(config.layers)
    for n in range(config.blocks):
        for name in BLOCK:
            theirs = f"blocks.{n}.{name}"
            ours = f"blocks/{n}/{name.split('.')[-1]}" if n < last else ""
            ours = "last/norm1" if (n, name) == (last, "norm1") else ours
            rows += _rows(theirs, ours)
    # In place of the row that says that it is unused: keys are the second of three.
    name = f"blocks.{last}.attn.qkv"
    rows = [row for row in rows if not row.theirs.startswith(f"{name}.")]
    rows += [row._replace(part=(1, 3)) for row in layer_rows(name, "last/key")]
    return rows + _rows("norm", "")


def _rows(theirs: str, ours: str) -> list[Row]:
    if not ours:
        return [Row(f"{theirs}.weight", ""), Row(f"{theirs}.bias", "")]
    is_norm = ours.split("/")[-1].startswith("norm")
    return layer_rows(theirs, ours, "scale" if is_norm else "kernel")
