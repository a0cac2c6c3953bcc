"""The networks of the motion segmentation job: made, written, read, converted.

A network is a U-Net of the user's size (`config.network`), or the published head behind
a frozen DINO (`config.official`). Both are trained and shown by the same code; only
this module knows which is which.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from egojax.data import pickles, weight_files
from egojax.errors import UsageError
from egojax.methods.mask_learning import MaskNet
from egojax.models import convert, convert_masks, weights
from egojax.models.dino import Dino
from egojax.models.mask_head import MaskHead
from egojax.models.mask_layers import MaskHeadConfig
from egojax.models.unet import UNet, UNetConfig

NETWORKS = ("network", "official")  # Of config.solver.
FILE = "network.npz"
LEVELS = 4  # Blocks whose keys the head sees: every second one, the last one first.
NAMES = {  # Fields of the config, by what a file says of its network.
    "num_masks": "network.num_masks",
    "features": "network.sees_flow",
    "channels": "network.width",
    "width": "official.width",
    "layers": "official.layers",
    "hidden": "official.hidden",
    "size_hw": "network.size_hw",
}


class Kind(NamedTuple):
    """A kind of network, and what it needs."""

    name: str  # "unet" or "head".
    init: Callable[[jax.Array], MaskNet]
    about: dict[str, Any]  # What a file of its weights says.
    backbone: Dino | None = None
    keeps_keys: bool = False  # Those of the backbone are found once for each frame.


def unet(fields: Any) -> Kind:
    """The small network; `fields` is `config.network`."""
    config = UNetConfig(
        num_masks=fields.num_masks,
        features=5 if fields.sees_flow else 3,
        channels=tuple(fields.width * times for times in (1, 2, 4, 4)),
        dtype=fields.dtype,
    )

    def init(key: jax.Array) -> UNet:
        return UNet(config, rngs=nnx.Rngs(key))

    return Kind("unet", init, _about("unet", config, fields))


def published(fields: Any, official: Any) -> Kind:
    """The published head; `official` is `config.official`.

    Raises:
      UsageError: the backbone's file is missing, or is of something else.
    """
    backbone = read_dino(pathlib.Path(official.backbone), LEVELS, fields.dtype)
    config = MaskHeadConfig(
        num_masks=fields.num_masks,
        features=backbone.config.dim,
        width=official.width,
        layers=official.layers,
        hidden=official.hidden,
        dropout=official.dropout,
        dtype=fields.dtype,
    )

    def init(key: jax.Array) -> MaskHead:
        return MaskHead(config, rngs=nnx.Rngs(key))

    about = _about("head", config, fields)
    return Kind("head", init, about, backbone, official.keys == "cached")


def _about(name: str, config: Any, fields: Any) -> dict[str, Any]:
    """What must be the same, where weights are used again."""
    sizes = dataclasses.asdict(config) | {"size_hw": list(fields.size_hw)}
    free = ("dtype", "dropout")
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()}
    return {"kind": name, **{k: v for k, v in plain.items() if k not in free}}


# ------------------------------------------------------------------------- our files


def write(path: pathlib.Path, model: nnx.Module, kind: Kind) -> None:
    """Writes what was learned."""
    weight_files.write_weights(path, weights.named_weights(model), kind.about)


def read(path: pathlib.Path, kind: Kind) -> MaskNet:
    """Reads what was learned.

    Raises:
      UsageError: damaged, or of another network than the config's; a line for each
        difference.
    """
    found = weight_files.read_weights(path, "network of masks")
    if found.about.get("kind") != kind.name:
        raise UsageError(
            f"{path}: a network of kind {found.about.get('kind')}; expected "
            f"{kind.name}: set config.solver to the one that it was trained with"
        )
    problems = [
        f"{path}: trained with {name}={found.about.get(name)}, here it is {mine}; see "
        f"config.{NAMES.get(name, 'official.backbone')}"
        for name, mine in kind.about.items()
        if found.about.get(name) != mine
    ]
    if problems:
        raise UsageError.from_problems(problems)
    return weights.with_weights(kind.init, found.weights, str(path))


def weights_file(text: str) -> pathlib.Path:
    """The file that `config.network.weights` means: itself, or that of a run folder.

    Raises:
      UsageError: there is none.
    """
    path = pathlib.Path(text)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"config.network.weights={text}: expected a run folder of --mode=train, "
            f"with {FILE}, or such a file"
        )
    return file


# ------------------------------------------------------------------- published files


def read_dino(path: pathlib.Path, levels: int, dtype: str) -> Dino:
    """A frozen backbone.

    Args:
      path: Of the published file.
      levels: Keys of so many blocks: the last one, and every second before it.
      dtype: Of products.

    Raises:
      UsageError: no such file, or other weights; a line for each.
    """
    state = convert.state_of(pickles.read_pt(path))
    config = convert_masks.dino_config(state, levels, str(path))
    config = dataclasses.replace(config, dtype=dtype)
    return convert_masks.dino_from_official(state, config, str(path))


def read_published(path: pathlib.Path, kind: Kind, *, mean: bool) -> MaskHead:
    """The head of a published checkpoint.

    Args:
      path: Of it.
      kind: What it is to be.
      mean: Of its two sets of weights the running mean, where it has one.

    Raises:
      UsageError: no such file, or a line for each weight that does not fit.
    """
    checkpoint = pickles.read_pt(path, pass_over=True)
    state = convert_masks.head_state(checkpoint, mean=mean, where=str(path))
    blank: Any = nnx.eval_shape(functools.partial(kind.init, jax.random.key(0)))
    return convert_masks.head_from_official(state, blank.config, str(path))
