"""Published weights of LRTL and DINO in our networks, by tables of names."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from egojax.errors import UsageError
from egojax.models.dino import Dino, DinoConfig
from egojax.models.mask_head import MaskHead
from egojax.models.mask_layers import MaskHeadConfig
from egojax.models.weights import Row, from_published, layer_rows

State = Mapping[str, np.ndarray]
HEAD = "sem_seg_head."
HEAD_DIM = 64  # Channels of each head of attention in DINO.
# In checkpoints of the head, and of no use: two layers for fewer masks, a buffer.
UNUSED = (
    r"sem_seg_head\.predictor\.mask_querie_comb\.[01]\.(weight|bias)",
    r"criterion\.empty_weight",
)
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


def dino_config(state: State, levels: int, where: str = "weights") -> DinoConfig:
    """The network that an official file holds; heads have 64 channels in all of them.

    Args:
      state: See `dino_from_official`.
      levels: Keys of so many blocks: the last one, and every second before it.
      where: What errors begin with.

    Raises:
      UsageError: what tells its sizes is missing.
    """
    patch, table = state.get("patch_embed.proj.weight"), state.get("pos_embed")
    is_there = patch is not None and table is not None
    if not is_there or patch.ndim != 4 or patch.shape[2] % 2 or table.ndim != 3:
        known = ", ".join(sorted(state)[:3]) or "nothing"
        raise UsageError(
            f"{where}: no weights of DINO: expected patch_embed.proj.weight and "
            f"pos_embed; there is {known}"
        )
    found = [re.match(r"blocks\.(\d+)\.", name) for name in state]
    blocks = 1 + max((int(row[1]) for row in found if row), default=-1)
    layers = tuple(range(blocks - 2 * levels + 1, blocks, 2))
    dim, side = patch.shape[0], math.isqrt(max(table.shape[1] - 1, 0))
    if layers[0] < 0 or dim % HEAD_DIM or 1 + side**2 != table.shape[1]:
        raise UsageError(
            f"{where}: {blocks} blocks of {dim} channels and {table.shape[1]} positions"
            f"; expected {2 * levels} blocks or more of a multiple of {HEAD_DIM}, and "
            "the positions of a square beside the first token"
        )
    return DinoConfig(
        dim=dim,
        heads=dim // HEAD_DIM,
        blocks=blocks,
        patch=patch.shape[2],
        stride=patch.shape[2] // 2,
        grid=side,
        layers=layers,
    )


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


def head_from_official(
    state: State, config: MaskHeadConfig | None = None, where: str = "weights"
) -> MaskHead:
    """The network of a checkpoint of LRTL, or of its running mean.

    Args:
      state: See `head_state`.
      config: None = the published sizes, with as many masks as there are queries.
      where: What errors begin with.

    Raises:
      UsageError: a line for each name or shape that does not fit.
    """
    if config is None:
        queries = state.get(f"{HEAD}predictor.query_embed.weight", np.zeros((4, 256)))
        config = MaskHeadConfig(num_masks=len(queries))

    def init(key: jax.Array) -> MaskHead:
        return MaskHead(config, rngs=nnx.Rngs(key))

    return from_published(init, head_table(config), state, where, unused=UNUSED)


def head_state(
    checkpoint: Any, *, mean: bool = False, where: str = "weights"
) -> dict[str, np.ndarray]:
    """The head's weights in a checkpoint of detectron2, without those of a backbone.

    Args:
      checkpoint: As `data.pickles.read_pt` returns it.
      mean: The running mean of weights, which the published numbers are of, where the
        checkpoint has one.
      where: What errors begin with.

    Raises:
      UsageError: there are none.
    """
    held = checkpoint if isinstance(checkpoint, Mapping) else {}
    state = held.get("model", held)
    averaged = held.get("ema_model")
    if mean and isinstance(averaged, Mapping):
        prefix = "ema_model."
        names = [name for name in averaged if name.startswith(prefix)]
        state = {name.removeprefix(prefix): averaged[name] for name in names}
    state = state if isinstance(state, Mapping) else {}
    found = {
        name: value
        for name, value in state.items()
        if isinstance(value, np.ndarray) and not name.startswith("backbone.")
    }
    if not any(name.startswith(HEAD) for name in found):
        known = ", ".join(sorted(map(str, held))[:3]) or "nothing"
        raise UsageError(f"{where}: no weights {HEAD}*; there is {known}")
    return found


def head_table(config: MaskHeadConfig) -> list[Row]:
    """All weights of the published head that are in use."""
    return [*_pixel_rows(), *_query_rows(config)]


def _pixel_rows() -> list[Row]:
    name = f"{HEAD}pixel_decoder"

    def pair(theirs: str, ours: str, norm: str) -> list[Row]:
        weight = Row(f"{name}.{theirs}.weight", f"pixels/{ours}/kernel")
        return [weight, *_rows(f"{name}.{theirs}.norm", f"pixels/{norm}")]

    rows = pair("layer_4", "last", "shared_norm")
    for n, level in enumerate((3, 2, 1)):
        rows += pair(f"adapter_{level}", f"adapters/{n}", f"adapter_norms/{n}")
        rows += pair(f"layer_{level}", f"layers/{n}", f"layer_norms/{n}")
    for n, at in enumerate((0, 2, 3, 5)):
        fine = f"{name}.mask_features.{at}"
        rows.append(Row(f"{fine}.weight", f"pixels/fine/{n}/kernel"))
        for kind in ("weight", "bias"):
            first = f"{name}.layer_4.norm.{kind}"
            rows.append(Row(f"{fine}.norm.{kind}", "", same_as=first))
    return rows + layer_rows(f"{name}.mask_features.6", "pixels/out")


def _query_rows(config: MaskHeadConfig) -> list[Row]:
    name, ours = f"{HEAD}predictor", "queries"
    rows = [Row(f"{name}.query_embed.weight", f"{ours}/queries")]
    rows += layer_rows(f"{name}.input_proj", f"{ours}/input")
    decoder = f"{name}.transformer.decoder"
    for n in range(config.layers):
        theirs, mine = f"{decoder}.layers.{n}", f"{ours}/layers/{n}"
        rows += _attention_rows(f"{theirs}.self_attn", f"{mine}/own")
        rows += _attention_rows(f"{theirs}.multihead_attn", f"{mine}/cross")
        for part in ("linear1", "linear2", "norm1", "norm2", "norm3"):
            rows += _rows(f"{theirs}.{part}", f"{mine}/{part}")
    rows += _rows(f"{decoder}.norm", f"{ours}/norm")
    for n in range(3):
        rows += layer_rows(f"{name}.mask_embed.layers.{n}", f"{ours}/embed/{n}")
    return rows


def _attention_rows(theirs: str, ours: str) -> list[Row]:
    rows = layer_rows(f"{theirs}.out_proj", f"{ours}/out")
    for n, part in enumerate(("query", "key", "value")):
        kernel = Row(f"{theirs}.in_proj_weight", f"{ours}/{part}/kernel", (n, 3))
        bias = Row(f"{theirs}.in_proj_bias", f"{ours}/{part}/bias", (n, 3))
        rows += [kernel, bias]
    return rows


def _rows(theirs: str, ours: str) -> list[Row]:
    if not ours:
        return [Row(f"{theirs}.weight", ""), Row(f"{theirs}.bias", "")]
    is_norm = "norm" in ours.split("/", 1)[-1]
    return layer_rows(theirs, ours, "scale" if is_norm else "kernel")
