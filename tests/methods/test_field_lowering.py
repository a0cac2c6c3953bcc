"""Learning and showing fields can be compiled for devices that are not at hand.

Nothing is computed or compiled here: arguments are shapes, and JAX writes the programs
for CPU, CUDA and TPU alike, for one device and for rays that lie on four.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax import export
from jax.sharding import PartitionSpec as P

from egojax.methods import field_batches, field_learning, grid_rendering, nerf_rendering
from egojax.methods.field_batches import RayBatch
from egojax.methods.field_rays import FieldRays
from egojax.methods.field_scene import FieldScene
from egojax.methods.grid_rendering import GridSettings, SceneBox
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.models.nerf import Nerf, NerfConfig
from egojax.ops import render, sampling
from egojax.ops.hash_grid import HashGrid, hash_encode
from egojax.ops.lens import LENSES
from egojax.ops.plane_grid import PlaneGrid
from egojax.task import Block
from egojax.train.mesh import Rules, make_mesh, split, whole
from egojax.train.step import make_plan, make_train_step
from egojax.types import Camera

PLATFORMS = ("cpu", "cuda", "tpu")
RAYS, FRAMES, STEPS = 16, 3, 2
TABLE = HashGrid(2, 4, 16, 8)
GRID = GridConfig(static=TABLE, moving=TABLE, proposal=TABLE, width=8, num_slots=8)
BOX = SceneBox(jnp.zeros(3), jnp.float32(1.0), jnp.float32(0.1))
GRID_SETTINGS = GridSettings(num_proposal=6, num_final=4)
NERF_SETTINGS = RenderSettings(num_coarse=4, num_fine=4)


def shape(*sizes: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def scene(lens: str = "pinhole") -> FieldScene:
    """Shapes of a scene."""
    ints = shape(FRAMES, dtype=jnp.int32)
    camera = Camera(
        shape(FRAMES, 3, 3),
        shape(FRAMES, 4, 4),
        None if lens == "pinhole" else shape(FRAMES, len(LENSES[lens])),
        size_hw=(12, 16),
        lens=lens,
    )
    images = shape(FRAMES, 12, 16, 3, dtype=jnp.uint8)
    return FieldScene(images, camera, shape(FRAMES), shape(FRAMES), ints, ints)


def rays() -> FieldRays:
    ints = shape(RAYS, dtype=jnp.int32)
    vectors = [shape(RAYS, 3)] * 3
    return FieldRays(*vectors, shape(RAYS), shape(RAYS), ints, ints)


def grid_model(key, dtype: str = "float32") -> GridFields:
    return GridFields(dataclasses.replace(GRID, dtype=dtype), rngs=nnx.Rngs(key))


def nerf_model(key, dtype: str = "float32") -> Nerf:
    return Nerf(NerfConfig(width=8, num_slots=8, dtype=dtype), rngs=nnx.Rngs(key))


def refined_model(key, dtype: str = "float32") -> GridFields:
    config = dataclasses.replace(GRID, dtype=dtype, poses=True, exposure=True)
    return GridFields(config, rngs=nnx.Rngs(key))


MODELS = {"grid": grid_model, "refined": refined_model, "nerf": nerf_model}
LOSSES = {
    "grid": field_learning.grid_loss(GRID_SETTINGS, BOX),
    "refined": field_learning.grid_loss(GRID_SETTINGS, BOX),
    "nerf": field_learning.nerf_loss(NERF_SETTINGS),
}


def check(fn, args, devices: int) -> None:
    """Lowers, and looks whether the program is what was asked for."""
    exported = export.export(fn, platforms=PLATFORMS)(*args)
    assert exported.platforms == PLATFORMS
    assert exported.nr_devices == devices


def check_step(
    init, loss, tx, scene: FieldScene, devices: int, rules: Rules = (), layers=None
):
    mesh = make_mesh(devices)
    step = make_train_step(loss, make_plan(init, tx, mesh, rules), tx, mesh)
    rays = RayBatch(shape(STEPS, RAYS, 2, dtype=jnp.int32), layers or {})
    block = Block(rays, scene)
    key = jax.eval_shape(lambda: jax.random.key(0))
    check(step, (make_plan(init, tx, mesh, rules).like, block, key), devices)


@pytest.mark.parametrize(
    ("kind", "dtype", "lens", "devices"),
    [
        ("grid", "float32", "pinhole", 1),
        ("grid", "bfloat16", "pinhole", 4),
        ("refined", "float32", "opencv", 4),
        ("nerf", "float32", "pinhole", 1),
        ("nerf", "float32", "opencv", 4),
        ("nerf", "bfloat16", "pinhole", 4),
    ],
)
def test_steps_of_learning_lower_for_every_device(kind, dtype, lens, devices):
    init = functools.partial(MODELS[kind], dtype=dtype)
    seen = scene(lens)
    if kind == "refined":
        seen = seen.replace(motion=shape(FRAMES, 12, 16, dtype=jnp.uint8))
    check_step(init, LOSSES[kind], optax.adam(1e-3), seen, devices)


@pytest.mark.parametrize("kind", ["grid", "nerf"])
def test_steps_that_are_given_their_colours_lower_for_every_device(kind):
    """Without images on the devices, four of which share the rays."""
    colors = {"images": shape(STEPS, RAYS, 3, dtype=jnp.uint8)}
    without = field_batches.without_pixels(scene())
    tx = optax.sgd(1e-3)
    check_step(MODELS[kind], LOSSES[kind], tx, without, 4, layers=colors)


@pytest.mark.parametrize("devices", [1, 4])
def test_a_step_with_planes_lowers_for_every_device(devices):
    planes = PlaneGrid(2, 1, 4, 4, 2, dtype="bfloat16")
    long = dataclasses.replace(planes, along_z=3.0)
    config = dataclasses.replace(
        GRID, static=planes, moving=planes, proposal=planes, actor=long
    )
    check_step(
        lambda key: GridFields(config, rngs=nnx.Rngs(key)),
        LOSSES["grid"],
        optax.adam(1e-3),
        scene(),
        devices,
    )


def test_a_step_with_split_tables_lowers_for_every_device():
    """As `mesh.Rules` lay large tables out."""
    wide = HashGrid(2, 3, 7, 9)  # 64 + 512 rows: four devices can share them.
    config = dataclasses.replace(GRID, static=wide)
    rules = [("static_table", P("data", None))]
    check_step(
        lambda key: GridFields(config, rngs=nnx.Rngs(key)),
        LOSSES["grid"],
        optax.sgd(1e-3, momentum=0.9),
        scene(),
        4,
        rules,
    )


@pytest.mark.parametrize(("suppress_actor", "devices"), [(True, 1), (False, 4)])
@pytest.mark.parametrize("kind", ["grid", "nerf"])
def test_rendering_lowers_for_every_device(kind, suppress_actor, devices):
    model = nnx.eval_shape(lambda: MODELS[kind](jax.random.key(0)))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    render_rays = {
        "grid": functools.partial(
            grid_rendering.render_rays, box=BOX, settings=GRID_SETTINGS
        ),
        "nerf": functools.partial(nerf_rendering.render_rays, settings=NERF_SETTINGS),
    }[kind]

    def show(params, rest, rays):
        model = nnx.merge(graphdef, params, rest)
        return render_rays(model, rays, suppress_actor=suppress_actor)

    mesh = make_mesh(devices)
    placed = jax.jit(show, in_shardings=(whole(mesh), whole(mesh), split(mesh)))
    check(placed, (params, rest, rays()), devices)


def encode_and_slope(points, table):
    def total(points, table):
        return hash_encode(points, table, TABLE).sum()

    return jax.value_and_grad(total, (0, 1))(points, table)


def sample(near, far, weights, u):
    coarse = sampling.stratify(near, far, 8)
    edges = sampling.stratify(near, far, 9)
    return sampling.refine(coarse, weights, u), sampling.sample_pdf(edges, weights, u)


def mix(density, rgb, t, wall):
    density, rgb = render.far_wall(density, rgb, wall)
    mixed = render.stream_weights(density, render.deltas(t), last="official")
    alone = render.stream_alone(mixed.alpha[0], rgb[0], t)
    coarse = render.ray_weights(density[0], render.deltas(t), opaque_far=True)
    return render.composite_streams(mixed, rgb, t), alone, coarse


def slope_of_mix(density, rgb, t, wall):
    return jax.grad(lambda d: mix(d, rgb, t, wall)[0].rgb.sum())(density)


ENDS = shape(RAYS), shape(RAYS)
STREAMS = shape(3, RAYS, 5), shape(3, RAYS, 5, 3), shape(RAYS, 5), shape(RAYS, 3)
BY_STREAM = P(None, "data"), P(None, "data"), P("data"), P("data")
OPS = {
    encode_and_slope: ((shape(RAYS, 3), shape(*TABLE.table_shape)), (P("data"), P())),
    sample: ((*ENDS, shape(RAYS, 8), shape(RAYS, 5)), (P("data"),) * 4),
    mix: (STREAMS, BY_STREAM),
    slope_of_mix: (STREAMS, BY_STREAM),
}


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("fn", OPS, ids=lambda fn: fn.__name__)
def test_ops_of_fields_lower_for_every_device(fn, devices):
    args, axes = OPS[fn]
    mesh = make_mesh(devices)
    placed = tuple(jax.sharding.NamedSharding(mesh, spec) for spec in axes)
    check(jax.jit(fn, in_shardings=placed), args, devices)
