"""The fast renderer: a proposal says where to look, one set of intervals is rendered.

Positions along a ray are shares s in [0, 1] of a warped distance: linear near the
camera, where hands are, and logarithmic beyond, so that a few samples reach the walls.
Randomness is an argument; without `Draws` all is deterministic.

Source: NeuralDiff for streams and losses; Barron et al. 2022 (Mip-NeRF 360) for the
proposal. Differs: intervals, not points; all of them share the opacity alike.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from egojax.methods.field_rays import FieldRays, Rendered
from egojax.models.blocks import Samples
from egojax.models.grid_fields import GridFields
from egojax.ops import render, sampling
from egojax.ops.encoding import contract
from egojax.ops.field_losses import distortion_loss, interlevel_loss
from egojax.ops.render import Composite


@struct.dataclass
class SceneBox:
    """What the fields call the unit cube."""

    center: Float[Array, "3"]  # World.
    radius: Float[Array, ""]  # What lies within is not contracted.
    unit: Float[Array, ""]  # Length that the actor's positions are measured in.


@dataclasses.dataclass(frozen=True)
class GridSettings:
    """How rays are sampled and composited."""

    num_proposal: int = 64  # Intervals of the proposal,
    num_final: int = 48  # and those that are rendered.
    floor: float = 0.3  # Share of samples that go anywhere.
    calm: float = 0.25  # Share of the far end below which the world learns less.
    bend: float = 0.05  # Share of the far end up to which positions are linear.
    beta: float = 1.0  # Share of the uncertainty that streams say,
    beta_min: float = 0.03  # and what is added to it.
    far_wall: bool = True  # In training, the last interval is an opaque wall.


class Draws(NamedTuple):
    """The random numbers of a training step, in [0, 1)."""

    proposal: Float[Array, "R P"]  # Where in its interval the proposal is asked,
    edges: Float[Array, "R E"]  # where the final edges are drawn,
    final: Float[Array, "R F"]  # where in its interval the field is asked.
    wall: Float[Array, "R 3"]  # Colours of the far walls.


def draw(key: Array, num_rays: int, settings: GridSettings) -> Draws:
    """Fresh random numbers for a step."""
    sizes = settings.num_proposal, settings.num_final + 1, settings.num_final, 3
    keys = jax.random.split(key, len(sizes))
    return Draws(
        *(
            jax.random.uniform(k, (num_rays, n))
            for k, n in zip(keys, sizes, strict=True)
        )
    )


class TrainingRender(NamedTuple):
    """What the loss of a step needs."""

    fine: Float[Array, "R 3"]
    uncertainty: Float[Array, "R"]
    changing_density: Float[Array, "P R S"]
    interlevel: Float[Array, "R S"]
    distortion: Float[Array, "R"]
    composite: Composite


def render_training(
    model: GridFields,
    rays: FieldRays,
    box: SceneBox,
    settings: GridSettings,
    draws: Draws,
) -> TrainingRender:
    """Renders rays for the loss."""
    # The proposal follows what is rendered; it does not say where cameras are.
    still = lax.stop_gradient(rays)
    s_proposal, proposal = _propose(model, still, box, settings, draws.proposal)
    s_edges = _final_edges(s_proposal, proposal, settings, draws.edges)
    samples, t_edges, t = _look(model, rays, box, settings, s_edges, draws.final)
    samples = _less_near(samples, t / (settings.calm * rays.far)[:, None])
    changing_density = samples.density[1:]
    if settings.far_wall:
        density, rgb = render.far_wall(samples.density, samples.rgb, draws.wall)
        samples = samples._replace(density=density, rgb=rgb)
    composite, uncertainty, mixed = _composite(samples, t_edges, t, settings)
    weights = mixed.total.weights
    return TrainingRender(
        fine=composite.rgb,
        uncertainty=uncertainty,
        changing_density=changing_density,
        interlevel=interlevel_loss(s_edges, weights, s_proposal, proposal),
        distortion=distortion_loss(s_edges, weights),
        composite=composite,
    )


def render_rays(
    model: GridFields,
    rays: FieldRays,
    box: SceneBox,
    settings: GridSettings,
    *,
    suppress_actor: bool = False,
) -> Rendered:
    """Renders rays as they are shown and scored; arguments as in `nerf_rendering`."""
    s_proposal, proposal = _propose(model, rays, box, settings, None)
    s_edges = _final_edges(s_proposal, proposal, settings, None)
    samples, t_edges, t = _look(model, rays, box, settings, s_edges, None)
    if suppress_actor:
        samples = samples._replace(density=samples.density.at[2].set(0.0))
    composite, uncertainty, mixed = _composite(samples, t_edges, t, settings)
    alone = tuple(
        render.stream_alone(alpha, rgb, t)
        for alpha, rgb in zip(mixed.alpha, samples.rgb, strict=True)
    )
    return Rendered(composite, uncertainty, alone)


def _distance(rays: FieldRays, s: Array, settings: GridSettings) -> Array:
    """Distances of shares s, (R, S)."""
    bend = (settings.bend * rays.far)[:, None]
    low, high = (jnp.log1p(end[:, None] / bend) for end in (rays.near, rays.far))
    return bend * jnp.expm1(low + s * (high - low))


def _within(edges: Array, part: Array | None) -> Array:
    """A position in each interval; its middle without random numbers."""
    share = 0.5 if part is None else part
    return edges[:, :-1] + share * jnp.diff(edges)


def _deltas(t_edges: Array) -> Array:
    """Lengths of intervals; the last one reaches to infinity, as published."""
    lengths = jnp.diff(t_edges)
    return jnp.concatenate(
        [lengths[:, :-1], jnp.full_like(lengths[:, -1:], render.FAR_DELTA)], axis=-1
    )


def _cube_points(rays: FieldRays, box: SceneBox, t: Array) -> Array:
    points = rays.ray_origins[:, None] + t[..., None] * rays.ray_dirs[:, None]
    return 0.25 * contract(points, box.center, box.radius) + 0.5


def _propose(
    model: GridFields,
    rays: FieldRays,
    box: SceneBox,
    settings: GridSettings,
    part: Array | None,
) -> tuple[Array, Array]:
    """Edges in s, (R, P + 1), and the weights of the intervals between them."""
    num = len(rays.near), settings.num_proposal + 1
    s_edges = jnp.broadcast_to(jnp.linspace(0.0, 1.0, num[1])[None], num)
    t = _distance(rays, _within(s_edges, part), settings)
    density = model.proposal_density(_cube_points(rays, box, t))
    t_edges = _distance(rays, s_edges, settings)
    return s_edges, render.ray_weights(density, _deltas(t_edges)).weights


def _final_edges(
    s_edges: Array, weights: Array, settings: GridSettings, part: Array | None
) -> Array:
    """Edges of the intervals that are rendered, dense where the proposal has weight."""
    num = settings.num_final
    u = jnp.linspace(0.0, 1.0, num + 1)[None]
    if part is not None:
        u = jnp.clip(u + (part - 0.5) / num, 0.0, 1.0)
    u = jnp.broadcast_to(u, (len(s_edges), num + 1))
    floor = settings.floor / settings.num_proposal
    return lax.stop_gradient(sampling.sample_pdf(s_edges, weights + floor, u))


def _look(
    model: GridFields,
    rays: FieldRays,
    box: SceneBox,
    settings: GridSettings,
    s_edges: Array,
    part: Array | None,
) -> tuple[Samples, Array, Array]:
    """What the fields say within the intervals, their edges, and where it was asked."""
    t = _distance(rays, _within(s_edges, part), settings)
    local = (t / box.unit)[..., None] * rays.camera_dirs[:, None]
    samples = model.samples(
        _cube_points(rays, box, t),
        local,
        rays.camera_dirs,
        rays.ray_dirs,
        rays.slots,
        rays.looks,
    )
    return samples, _distance(rays, s_edges, settings), t


def _less_near(samples: Samples, t: Array) -> Samples:
    """The same, but what lives in the world learns less from where t < 1.

    Near a camera a place is seen by more rays of one frame, and by fewer frames: there
    the fields would grow what floats before single cameras. The actor is near.

    Source: Philip and Deschaintre 2023 (Floaters No More), Eq. 5.
    """
    share = jnp.square(jnp.clip(t, 0.0, 1.0))

    def calmed(x: Array, share: Array) -> Array:
        still = lax.stop_gradient(x)
        return x.at[:2].set(still[:2] + share * (x[:2] - still[:2]))

    return samples._replace(
        density=calmed(samples.density, share[None]),
        rgb=calmed(samples.rgb, share[None, ..., None]),
    )


def _composite(
    samples: Samples, t_edges: Array, t: Array, settings: GridSettings
) -> tuple[Composite, Array, render.StreamWeights]:
    mixed = render.stream_weights(samples.density, _deltas(t_edges))
    said = settings.beta * samples.beta
    beta = render.uncertainty(mixed.weights[1:], said, settings.beta_min)
    return render.composite_streams(mixed, samples.rgb, t), beta, mixed
