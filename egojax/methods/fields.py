"""The two kinds of radiance fields behind one face: weights, loss, rendered rays.

"grid": grids with a proposal, the product's own; and the published networks
(`models.nerf.Kind`). Both explain a clip by the same streams.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from egojax.methods import field_learning, field_scene, grid_rendering, nerf_rendering
from egojax.methods.field_learning import GridLoss
from egojax.methods.field_rays import FieldRays, Rendered
from egojax.methods.field_scene import FieldScene
from egojax.methods.grid_rendering import GridSettings, SceneBox
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.models.nerf import Nerf, NerfConfig
from egojax.models.poses import PoseErrors

STREAMS = {"grid": 3, "neuraldiff": 3, "nerfw": 2, "tnerf": 2, "nerf": 1}


class Fields(NamedTuple):
    """Radiance fields of one scene: what `train.loop.fit` and the renderer need."""

    init: Callable[[jax.Array], nnx.Module]
    loss: Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, Any]]]
    render: Callable[[nnx.Module, FieldRays, bool], Rendered]  # True: without actor.
    num_streams: int
    official_rays: bool  # See `field_scene.rays_of`.
    # A scene as its cameras are, where the fields know better than their poses.
    placed: Callable[[Any, FieldScene], FieldScene] = lambda model, scene: scene
    # What is trained to place frames that the fields were not trained on.
    placing: Callable[[Any], "Placing"] | None = None


class Placing(NamedTuple):
    """Poses that are learned while the fields stay as they are."""

    init: Callable[[jax.Array], PoseErrors]
    loss: Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, Any]]]


def grid_fields(
    config: GridConfig,
    settings: GridSettings,
    box: SceneBox,
    weights: GridLoss,
) -> Fields:
    """Fields in grids, hashed or of planes.

    Args:
      config: Sizes.
      settings: Of the renderer.
      box: Of the scene.
      weights: Of the loss.
    """

    def render(model: Any, rays: FieldRays, suppress_actor: bool) -> Rendered:
        return grid_rendering.render_rays(
            model, rays, box, settings, suppress_actor=suppress_actor
        )

    def placed(model: Any, scene: FieldScene) -> FieldScene:
        if model.poses is None:
            return scene
        return field_scene.moved(scene, model.poses, box.unit)

    def placing(model: Any) -> Placing:
        return Placing(
            init=lambda key: PoseErrors(config.num_slots),
            loss=field_learning.poses_loss(model, settings, box, weights),
        )

    return Fields(
        init=lambda key: GridFields(config, rngs=nnx.Rngs(key)),
        loss=field_learning.grid_loss(settings, box, weights),
        render=render,
        num_streams=STREAMS["grid"],
        official_rays=False,
        placed=placed,
        placing=placing if config.poses else None,
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
