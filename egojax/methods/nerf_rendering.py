"""The published renderer: a coarse pass that says where to look, and a fine one.

Rays are in batches (R,). World and camera axes share the distance along a ray, since
both directions have unit length. Randomness is an argument: without `Draws` all is
deterministic.

Source: NeuralDiff, render_rays.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from egojax.methods.field_rays import FieldRays, Rendered
from egojax.models.blocks import Samples
from egojax.models.nerf import Nerf
from egojax.ops import render, sampling
from egojax.ops.render import Composite, LastShare, Mixing


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """How rays are sampled and composited; the defaults are the published ones."""

    num_coarse: int = 64
    num_fine: int = 64  # More than those, where the coarse pass says.
    perturb: float = 1.0  # Of training: jitter of the coarse positions,
    noise_std: float = 1.0  # noise on the coarse density,
    far_wall: bool = True  # and the last sample an opaque wall.
    beta_min: float = 0.03
    mixing: Mixing = "normalized"
    last: LastShare = "official"


class Draws(NamedTuple):
    """The random numbers of a training step."""

    jitter: Float[Array, "R C"]  # In [0, perturb).
    noise: Float[Array, "R C"]  # Added to the coarse density.
    quantiles: Float[Array, "R F"]  # Of the fine positions.
    wall: Float[Array, "R 3"]  # Colours of the far walls.


def draw(key: Array, num_rays: int, settings: RenderSettings) -> Draws:
    """Fresh random numbers for a step."""
    jitter, noise, quantiles, wall = jax.random.split(key, 4)
    coarse = num_rays, settings.num_coarse
    return Draws(
        jitter=settings.perturb * jax.random.uniform(jitter, coarse),
        noise=settings.noise_std * jax.random.normal(noise, coarse),
        quantiles=jax.random.uniform(quantiles, (num_rays, settings.num_fine)),
        wall=jax.random.uniform(wall, (num_rays, 3)),
    )


class TrainingRender(NamedTuple):
    """What the loss of a step needs."""

    coarse: Float[Array, "R 3"]
    fine: Float[Array, "R 3"]
    uncertainty: Float[Array, "R"]
    changing_density: Float[Array, "P R S"]
    composite: Composite


def render_training(
    model: Nerf, rays: FieldRays, settings: RenderSettings, draws: Draws | None
) -> TrainingRender:
    """Renders rays for the loss, with the far wall if the settings want it.

    Args:
      model: The fields.
      rays: (R,)
      settings: Static.
      draws: The randomness; None = positions as in `render_rays`, no noise, walls of
        grey.
    """
    t = _coarse_positions(rays, settings, None if draws is None else draws.jitter)
    density, rgb = model.coarse_samples(_points(rays, t), rays.ray_dirs)
    if draws is not None:
        density = jax.nn.relu(density + draws.noise)
    coarse = render.ray_weights(density, render.deltas(t))
    quantiles = _quantiles(rays, settings) if draws is None else draws.quantiles
    t_fine = sampling.refine(t, coarse.weights, quantiles)
    samples = _samples(model, rays, t_fine)
    changing_density = samples.density[1:]
    if settings.far_wall:
        color = jnp.full_like(rays.ray_dirs, 0.5) if draws is None else draws.wall
        walled = render.far_wall(samples.density, samples.rgb, color)
        samples = samples._replace(density=walled[0], rgb=walled[1])
    composite, uncertainty, _ = _composite(samples, t_fine, settings)
    return TrainingRender(
        coarse=render.accumulate(coarse.weights, rgb),
        fine=composite.rgb,
        uncertainty=uncertainty,
        changing_density=changing_density,
        composite=composite,
    )


def render_rays(
    model: Nerf,
    rays: FieldRays,
    settings: RenderSettings,
    *,
    suppress_actor: bool = False,
) -> Rendered:
    """Renders rays as they are shown and scored: deterministic, without a far wall.

    Args:
      model: The fields.
      rays: (R,)
      settings: Static.
      suppress_actor: Take the actor (the last stream) away, and see what it hides.
    """
    t = _coarse_positions(rays, settings, None)
    density = model.coarse_density(_points(rays, t))
    coarse = render.ray_weights(density, render.deltas(t))
    t = sampling.refine(t, coarse.weights, _quantiles(rays, settings))
    samples = _samples(model, rays, t)
    if suppress_actor:
        if len(samples.density) < 3:
            raise ValueError(f"{len(samples.density)} streams: none is the actor")
        samples = samples._replace(density=samples.density.at[2].set(0.0))
    composite, uncertainty, mixed = _composite(samples, t, settings)
    alone = tuple(
        render.stream_alone(alpha, rgb, t)
        for alpha, rgb in zip(mixed.alpha, samples.rgb, strict=True)
    )
    return Rendered(composite, uncertainty, alone)


def _coarse_positions(
    rays: FieldRays, settings: RenderSettings, jitter: Array | None
) -> Array:
    return sampling.stratify(rays.near, rays.far, settings.num_coarse, jitter)


def _quantiles(rays: FieldRays, settings: RenderSettings) -> Array:
    row = jnp.linspace(0.0, 1.0, settings.num_fine)
    return jnp.broadcast_to(row[None], (len(rays.near), settings.num_fine))


def _points(rays: FieldRays, t: Array) -> Array:
    return rays.ray_origins[:, None] + t[..., None] * rays.ray_dirs[:, None]


def _samples(model: Nerf, rays: FieldRays, t: Array) -> Samples:
    camera_points = t[..., None] * rays.camera_dirs[:, None]
    return model.samples(
        _points(rays, t), camera_points, rays.ray_dirs, rays.slots, rays.looks
    )


def _composite(
    samples: Samples, t: Array, settings: RenderSettings
) -> tuple[Composite, Array, render.StreamWeights]:
    mixed = render.stream_weights(
        samples.density,
        render.deltas(t),
        mixing=settings.mixing,
        last=settings.last,
    )
    if len(samples.beta):
        beta = render.uncertainty(mixed.weights[1:], samples.beta, settings.beta_min)
    else:  # Without streams that change, squared errors count plainly.
        beta = jnp.ones_like(t[:, 0])
    return render.composite_streams(mixed, samples.rgb, t), beta, mixed
