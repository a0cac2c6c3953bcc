"""The weights of published networks under their published names."""

import numpy as np

from egojax.models.blocks import Affine
from egojax.models.nerf import Nerf


def state_of(model: Nerf, padded: bool = True) -> dict[str, np.ndarray]:
    """The model as a checkpoint, written here from the published description."""
    state = {"embedding_a.weight": np.asarray(model.appearance[...])}
    if model.config.kind == "neuraldiff":
        state["embedding_t.W"] = np.asarray(model.time[...])
    elif model.config.kind == "nerfw":
        state["embedding_t.weight"] = np.asarray(model.time[...])

    def put(name: str, layer: Affine, pad: int = 0) -> None:
        weight = np.asarray(layer.kernel[...]).T
        rubbish = np.full((len(weight), pad), 7.0, np.float32)
        state[f"{name}.weight"] = np.concatenate([weight, rubbish], 1)
        state[f"{name}.bias"] = np.asarray(layer.bias[...])

    for net, field in (("nerf_coarse", model.coarse), ("nerf_fine", model.fine)):
        for i, layer in enumerate(field.trunk):
            put(f"{net}.xyz_encoding_{i + 1}.0", layer)
        put(f"{net}.xyz_encoding_final", field.feature)
        put(f"{net}.dir_encoding.0", field.color)
        put(f"{net}.static_sigma.0", field.density)
        put(f"{net}.static_rgb.0", field.rgb)
    streams = [("transient", model.moving)]
    if model.config.kind == "neuraldiff":
        streams.append(("person", model.actor))
    for name, field in streams:
        for i, layer in enumerate(field.layers):
            is_padded = padded and name == "person" and i == 0
            extra = model.config.width - model.config.position_dim
            put(f"nerf_fine.{name}_encoding.{2 * i}", layer, extra if is_padded else 0)
        put(f"nerf_fine.{name}_sigma.0", field.density)
        put(f"nerf_fine.{name}_rgb.0", field.rgb)
        put(f"nerf_fine.{name}_beta.0", field.beta)
    return state
