"""The two kinds of radiance fields behind one face: weights, loss, rendered rays.

"grid": hashed grids with a proposal, the product's own; and the published networks
(`models.nerf.Kind`). Both explain a clip by the same streams.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from egojax.methods import field_learning, grid_rendering, nerf_rendering
from egojax.methods.field_rays import FieldRays, Rendered
from egojax.methods.grid_rendering import GridSettings, SceneBox
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.models.nerf import Nerf, NerfConfig

STREAMS = {"grid": 3, "neuraldiff": 3, "nerfw": 2, "tnerf": 2, "nerf": 1}


class Fields(NamedTuple):
    """Radiance fields of one scene: what `train.loop.fit` and the renderer need."""

    init: Callable[[jax.Array], nnx.Module]
    loss: Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, Any]]]
    render: Callable[[nnx.Module, FieldRays, bool], Rendered]  # True: without actor.
    num_streams: int
    official_rays: bool  # See `field_scene.rays_of`.


def grid_fields(
    config: GridConfig, settings: GridSettings, box: SceneBox, **loss: Any
) -> Fields:
    """Fields in hashed grids.

    Args:
      config: Sizes.
      settings: Of the renderer.
      box: Of the scene.
      loss: Options of `field_learning.grid_loss`.
    """

    def render(model: Any, rays: FieldRays, suppress_actor: bool) -> Rendered:
        return grid_rendering.render_rays(
            model, rays, box, settings, suppress_actor=suppress_actor
        )

    return Fields(
        init=lambda key: GridFields(config, rngs=nnx.Rngs(key)),
        loss=field_learning.grid_loss(settings, box, **loss),
        render=render,
        num_streams=STREAMS["grid"],
        official_rays=False,
    )


def nerf_fields(
    config: NerfConfig,
    settings: RenderSettings,
    *,
    official: bool = True,
    **loss: Any,
) -> Fields:
    """The published networks.

    Args:
      config: Which of them, and their sizes.
      settings: Of the renderer.
      official: Rays by the published conventions.
      loss: Options of `field_learning.nerf_loss`.
    """

    def render(model: Any, rays: FieldRays, suppress_actor: bool) -> Rendered:
        return nerf_rendering.render_rays(
            model, rays, settings, suppress_actor=suppress_actor
        )

    return Fields(
        init=lambda key: Nerf(config, rngs=nnx.Rngs(key)),
        loss=field_learning.nerf_loss(settings, official=official, **loss),
        render=render,
        num_streams=STREAMS[config.kind],
        official_rays=official,
    )
