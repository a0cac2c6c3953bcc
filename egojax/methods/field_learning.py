"""How radiance fields are learned: losses of a step, for `train.loop.fit`.

A batch is (rays, scene): a `RayBatch`, and the `FieldScene` that all steps share, with
or without its images. What is logged are the terms of the loss and the error of the
colours.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from egojax.methods import field_batches, field_scene, grid_rendering, nerf_rendering
from egojax.methods.field_batches import RayBatch
from egojax.methods.field_rays import moved_rays
from egojax.methods.field_scene import FieldScene
from egojax.methods.grid_rendering import GridSettings, SceneBox
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.grid_fields import GridFields
from egojax.models.nerf import Nerf
from egojax.models.poses import PoseErrors
from egojax.ops import field_losses
from egojax.ops.camera import camera_centers
from egojax.ops.field_losses import StreamLoss

Logs = dict[str, Any]
Batch = tuple[RayBatch, FieldScene]


def nerf_loss(
    settings: RenderSettings,
    *,
    official: bool = True,
    density: float = field_losses.DENSITY_WEIGHT,
) -> Callable[[Nerf, Batch, jax.Array], tuple[jax.Array, Logs]]:
    """The published loss of the published networks.

    Args:
      settings: Of the renderer.
      official: Rays by the published conventions (`field_scene.rays_of`).
      density: Weight of the density of what is not static.
    """

    def loss(model: Nerf, batch: Batch, key: jax.Array) -> tuple[jax.Array, Logs]:
        picked, scene = batch
        rays = field_scene.rays_of(scene, *picked.rays.T, official=official)
        target = field_batches.seen(scene, picked, "images")
        draws = nerf_rendering.draw(key, len(target), settings)
        out = nerf_rendering.render_training(model, rays, settings, draws)
        terms = field_losses.stream_loss(
            *(out.fine, out.uncertainty, out.changing_density, target, out.coarse),
            density_weight=density,
        )
        return terms.total, _logs(terms, out.fine, target)

    return loss


@dataclasses.dataclass(frozen=True)
class GridLoss:
    """The weights of the fast fields' loss: the published terms, and more."""

    density: float = field_losses.DENSITY_WEIGHT  # Of what is not static.
    distortion: float = 0.0  # How widely the weight of a ray is spread.
    motion: float = 0.0  # What is known to move is not static,
    rest: float = 0.0  # and what is known to rest is, times that.
    poses: float = 0.0  # How far cameras are moved.


def grid_loss(
    settings: GridSettings, box: SceneBox, weights: GridLoss = GridLoss()
) -> Callable[[GridFields, Batch, jax.Array], tuple[jax.Array, Logs]]:
    """The loss of the fast fields, and that of their proposal."""

    def loss(model: GridFields, batch: Batch, key: jax.Array) -> tuple[jax.Array, Logs]:
        return _grid_loss(model, model.poses, batch, key, settings, box, weights)

    return loss


def poses_loss(
    fields: GridFields,
    settings: GridSettings,
    box: SceneBox,
    weights: GridLoss = GridLoss(),
) -> Callable[[PoseErrors, Batch, jax.Array], tuple[jax.Array, Logs]]:
    """The same for poses alone: where frames were taken that the fields do not know.

    Args:
      fields: These do not learn.
      settings, box, weights: As in `grid_loss`.
    """

    def loss(model: PoseErrors, batch: Batch, key: jax.Array) -> tuple[jax.Array, Logs]:
        return _grid_loss(fields, model, batch, key, settings, box, weights)

    return loss


def _grid_loss(
    model: GridFields,
    poses: PoseErrors | None,
    batch: Batch,
    key: jax.Array,
    settings: GridSettings,
    box: SceneBox,
    weights: GridLoss,
) -> tuple[jax.Array, Logs]:
    picked, scene = batch
    rays = field_scene.rays_of(scene, *picked.rays.T)
    if poses is not None:
        rays = moved_rays(rays, poses, box.unit)
    target = field_batches.seen(scene, picked, "images")
    draws = grid_rendering.draw(key, len(target), settings)
    out = grid_rendering.render_training(model, rays, box, settings, draws)
    terms = field_losses.stream_loss(
        *(out.fine, out.uncertainty, out.changing_density, target),
        density_weight=weights.density,
    )
    more = {
        "interlevel_loss": out.interlevel.sum(-1).mean(),
        "distortion_loss": weights.distortion * out.distortion.mean(),
    }
    if field_batches.has(scene, picked, "motion"):
        changing = out.composite.masks[1:].sum(0)
        moves = field_batches.seen(scene, picked, "motion")
        motion = field_losses.motion_loss(changing, moves, weights.rest)
        more["motion_loss"] = weights.motion * motion
    if poses is not None:
        more["poses_loss"] = weights.poses * poses.size(rays.slots)
    total = terms.total + sum(more.values())
    return total, {**_logs(terms, out.fine, target), **more}


def _logs(terms: StreamLoss, fine: jax.Array, target: jax.Array) -> Logs:
    named = {f"{name}_loss": value for name, value in terms._asdict().items()}
    return {**named, "squared_error": jnp.mean((fine - target) ** 2)}


def scene_box(scene: FieldScene) -> SceneBox:
    """The fields' unit cube for a scene: what lies around the cameras is kept as it is.

    The radius is half as large again as their reach, but no less than a tenth of
    the way to what is farthest, for cameras that hardly move. The actor is measured in
    twentieths of that way.
    """
    centers = camera_centers(scene.camera.w2c)
    low, high = centers.min(0), centers.max(0)
    far = float(np.median(scene.far))
    radius = max(1.5 * np.linalg.norm(high - low) / 2, 0.1 * far)
    return SceneBox(
        center=jnp.asarray(0.5 * (low + high), jnp.float32),
        radius=jnp.float32(radius),
        unit=jnp.float32(0.05 * far),
    )
