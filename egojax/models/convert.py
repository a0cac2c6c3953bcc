"""Published weights in our networks, by tables of names: (theirs, ours).

Weights of affine layers are stored by PyTorch as (out, in), here as (in, out).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from egojax.errors import UsageError
from egojax.models.blocks import Affine
from egojax.models.nerf import HEAD, TRUNK, Kind, Nerf, NerfConfig

State = Mapping[str, np.ndarray]


def state_of(checkpoint: Any) -> dict[str, np.ndarray]:
    """The weights in a checkpoint: its `state_dict`, or the dictionary itself.

    Raises:
      UsageError: there are none.
    """
    state = checkpoint
    if isinstance(checkpoint, Mapping):
        state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping):
        raise UsageError(f"checkpoint: a {type(state).__name__}; expected a state_dict")
    found = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
    if not found:
        raise UsageError("checkpoint: there are no tensors in it")
    return found


def nerf_from_official(state: State, kind: Kind | None = None) -> Nerf:
    """The network of a checkpoint of NeuralDiff, or of epic-fields-rendering.

    Args:
      state: Its `state_dict`, tensors as arrays.
      kind: None = what its time code says. A baseline's actor, which its renderer
        switches off, is left out.

    Returns:
      The network, of the sizes that the checkpoint has.

    Raises:
      UsageError: names are missing or shapes do not fit; one line for each.
    """
    if kind == "nerf":
        raise UsageError(
            "checkpoint: published ones have appearance codes and streams that change, "
            "which kind nerf has not; expected neuraldiff, nerfw or tnerf"
        )
    config = nerf_config(state, kind)
    model = Nerf(config, rngs=nnx.Rngs(0))
    problems: list[str] = []

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        found = state.get(name)
        if found is None:
            problems.append(f"{name} is missing")
        elif found.shape != shape:
            problems.append(f"{name} is {found.shape}; expected {shape}")
        elif not np.isfinite(found).all():
            problems.append(f"{name} holds NaN or infinite weights")
        else:
            return np.asarray(found, np.float32)
        return np.zeros(shape, np.float32)

    for theirs, ours in nerf_layers(config):
        layer = _layer(model, ours)
        din, dout = layer.kernel.shape
        # Inputs that are always 0 pad the first layer of the published actor.
        padded = _padded(state, theirs, config) if ours == "actor.layers.0" else din
        kernel = take(f"{theirs}.weight", (dout, padded))[:, :din].T
        layer.kernel[...] = jnp.asarray(kernel)
        layer.bias[...] = jnp.asarray(take(f"{theirs}.bias", (dout,)))
    for theirs, ours in nerf_tables(config):
        table = getattr(model, ours)
        table[...] = jnp.asarray(take(theirs, table.shape))
    if problems:
        raise UsageError.from_problems([f"checkpoint: {line}" for line in problems])
    return model


def nerf_config(state: State, kind: Kind | None = None) -> NerfConfig:
    """The sizes that a checkpoint has.

    Raises:
      UsageError: what tells them is missing.
    """
    first, color = (
        "nerf_fine.xyz_encoding_1.0.weight",
        "nerf_fine.dir_encoding.0.weight",
    )
    for name in (first, color, "embedding_a.weight"):
        if name not in state or state[name].ndim != 2:
            known = ", ".join(sorted(state)[:3])
            raise UsageError(f"checkpoint: no {name}; it begins with {known}")
    width, position = state[first].shape
    num_slots, appearance = state["embedding_a.weight"].shape
    direction = state[color].shape[1] - width - appearance
    basis, time = _time_shape(state)
    return NerfConfig(
        kind=kind or _kind_of(state),
        width=width,
        position_bands=(position - 3) // 6,
        direction_bands=(direction - 3) // 6,
        num_slots=num_slots,
        appearance_dim=appearance,
        time_dim=time,
        time_basis=basis,
    )


def _kind_of(state: State) -> Kind:
    if "embedding_t.W" in state:
        return "neuraldiff"
    return "nerfw" if "embedding_t.weight" in state else "tnerf"


def _time_shape(state: State) -> tuple[int, int]:
    """Functions and numbers of the time code; the published ones where none is kept."""
    published = NerfConfig()
    basis, dim = published.time_basis, published.time_dim
    for name in ("embedding_t.W", "embedding_t.weight"):
        if name in state and state[name].ndim == 2:
            rows, dim = state[name].shape
            basis = rows if name.endswith("W") else basis
    return basis, dim


def _padded(state: State, layer: str, config: NerfConfig) -> int:
    """Inputs of the actor's first layer: with the padding, or (later code) without."""
    found = state.get(f"{layer}.weight")
    with_padding = config.width + config.time_dim
    without = config.position_dim + config.time_dim
    if found is not None and found.shape[1:] == (with_padding,):
        return max(with_padding, without)
    return without


def nerf_layers(config: NerfConfig) -> Iterator[tuple[str, str]]:
    """Affine layers: their name, our path."""
    for net, ours in (("nerf_coarse", "coarse"), ("nerf_fine", "fine")):
        for i in range(TRUNK):
            yield f"{net}.xyz_encoding_{i + 1}.0", f"{ours}.trunk.{i}"
        yield f"{net}.xyz_encoding_final", f"{ours}.feature"
        yield f"{net}.dir_encoding.0", f"{ours}.color"
        yield f"{net}.static_sigma.0", f"{ours}.density"
        yield f"{net}.static_rgb.0", f"{ours}.rgb"
    streams = (("transient", "moving"), ("person", "actor"))
    for stream, ours in streams if config.kind == "neuraldiff" else streams[:1]:
        for i in range(HEAD):
            yield f"nerf_fine.{stream}_encoding.{2 * i}", f"{ours}.layers.{i}"
        for head, mine in (("sigma", "density"), ("rgb", "rgb"), ("beta", "beta")):
            yield f"nerf_fine.{stream}_{head}.0", f"{ours}.{mine}"


def nerf_tables(config: NerfConfig) -> Iterator[tuple[str, str]]:
    """Tables of codes: their name, our attribute."""
    yield "embedding_a.weight", "appearance"
    if config.kind == "neuraldiff":
        yield "embedding_t.W", "time"
    elif config.kind == "nerfw":
        yield "embedding_t.weight", "time"


def _layer(model: Nerf, path: str) -> Affine:
    node: Any = model
    for name in path.split("."):
        node = node[int(name)] if name.isdigit() else getattr(node, name)
    return node
