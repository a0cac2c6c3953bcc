"""Radiance fields on one core: training steps, and the operations they are made of.

All of it runs in a process of its own that is pinned to one core. The published step is
held against `neuraldiff_torch.py`, the same network in plain PyTorch, which takes turns
with ours in the same run: by EGOJAX_TORCH_PYTHON, a Python that has torch (extra
`parity`), or this one if it has. Both first give the loss of the same rays and weights.

Times are of the processor, the least of several turns. A floor is what the arithmetic
would take at the rate of a matrix product of NumPy's, and table reads at that of a copy
(32 bytes a read; backward twice as many), measured in the same process.
"""

import collections
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import field_references
import jax
import jax.numpy as jnp
import numpy as np
import one_core
from bench_rows import line
from flax import nnx
from one_core import cpu_ms, first_call, floor_note, largest_error, machine

from egojax.methods import (
    field_batches,
    field_frames,
    field_learning,
    field_scene,
    nerf_rendering,
)
from egojax.methods.field_batches import RayBatch
from egojax.methods.field_scene import FieldScene
from egojax.methods.fields import Fields
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models import convert
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.models.nerf import Nerf, NerfConfig
from egojax.ops import field_losses, render, sampling
from egojax.ops.grids import Grid, encode
from egojax.ops.hash_grid import HashGrid
from egojax.task import Block
from egojax.tasks import field_config, field_models
from egojax.train.mesh import make_mesh
from egojax.train.optim import OptimConfig, make_optimizer
from egojax.train.step import make_plan, make_train_step, start
from egojax.types import Camera

TORCH_PROGRAM = pathlib.Path(__file__).parent / "neuraldiff_torch.py"
TORCH_PYTHON = "EGOJAX_TORCH_PYTHON"
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
SECTOR_BYTES = 32
NAMES = ("ray_origins", "ray_dirs", "camera_dirs", "near", "far", "slots", "looks")


def rows() -> Iterator[dict[str, Any]]:
    """All lines of this suite, from a process on one core."""
    return one_core.rows_of(__file__)


def one_core_rows() -> Iterator[dict[str, Any]]:
    # First, since the peak of a process's memory never falls again.
    yield official_row()
    default, spec = bench_config(), spec_size_config()
    yield grid_row("default training", default)
    planes = plane_config()
    yield grid_row("training with planes", planes, steps=2)
    yield grid_row("default training, tables of 2^19", spec, steps=2)
    yield frame_row("a frame of default fields", default)
    yield from encode_rows("hash grid 2^14", HashGrid(8, 16, 256, 14), 1 << 14)
    yield from encode_rows("hash grid 2^19", GridConfig().static, 1 << 14)
    static = fields_of(planes, make_scene())[1].static
    yield from encode_rows("planes of the static stream", static, 1 << 14)
    yield sampling_row()
    yield composite_row()
    yield colors_row()


# ----------------------------------------------------------------- the published step


def make_scene(num_frames: int = 64, size_hw: tuple[int, int] = (27, 48)) -> FieldScene:
    """Noise, seen by cameras that look everywhere."""
    rng = np.random.default_rng(0)
    w2c = np.tile(np.eye(4, dtype=np.float32), (num_frames, 1, 1))
    w2c[:, :3, :3] = np.linalg.qr(rng.normal(size=(num_frames, 3, 3)))[0]
    w2c[:, :3, 3] = rng.normal(size=(num_frames, 3))
    height, width = size_hw
    intrinsics = np.diag(np.array([width, width, 1], np.float32))
    intrinsics[:2, 2] = 0.5 * width, 0.5 * height
    order = np.arange(num_frames, dtype=np.int32)
    scene = FieldScene(
        images=rng.integers(0, 256, (num_frames, *size_hw, 3), np.uint8),
        camera=Camera(np.tile(intrinsics, (num_frames, 1, 1)), w2c, size_hw=size_hw),
        near=rng.uniform(0.1, 0.5, num_frames).astype(np.float32),
        far=rng.uniform(3, 8, num_frames).astype(np.float32),
        slots=order,
        looks=order,
    )
    return jax.tree.map(jnp.asarray, scene)


def rays_in(scene: FieldScene, steps: int, count: int) -> np.ndarray:
    """Frames and pixels, (steps, count, 2)."""
    frames = np.arange(len(scene.near))
    height, width = scene.size_hw
    source = field_batches.ray_batches(frames, height * width, count, 0)
    return np.asarray(field_batches.next_steps(source, steps).rays)


def random_state(config: NerfConfig) -> dict[str, np.ndarray]:
    """Weights of the network, under the names of a published checkpoint."""
    flat = by_path(nnx.state(Nerf(config, rngs=nnx.Rngs(0)), nnx.Param))
    state = {}
    for theirs, ours in convert.nerf_layers(config):
        state[f"{theirs}.weight"] = flat[f"{ours}.kernel"].T
        state[f"{theirs}.bias"] = flat[f"{ours}.bias"]
    return state | {theirs: flat[ours] for theirs, ours in convert.nerf_tables(config)}


def by_path(tree: Any) -> dict[str, np.ndarray]:
    """Weights, or their gradients, by our paths."""
    flat = nnx.to_flat_state(tree)
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


def plain_loss(model: Nerf, scene: FieldScene, picked: Any) -> jax.Array:
    """The published loss of rays without any randomness."""
    rays = field_scene.rays_of(scene, *picked.T, official=True)
    target = field_scene.values_of(scene.images, *picked.T)
    out = nerf_rendering.render_training(model, rays, RenderSettings(), None)
    return field_losses.stream_loss(
        out.fine, out.uncertainty, out.changing_density, target, out.coarse
    ).total


def loss_and_norms(
    state: dict[str, np.ndarray], scene: FieldScene, picked: np.ndarray
) -> tuple[float, dict[str, float]]:
    """Ours, and the norms of the gradients by published names."""
    model = convert.nerf_from_official(state)
    graphdef, params = nnx.split(model, nnx.Param)

    @jax.jit
    def compute(params: Any) -> Any:
        return jax.value_and_grad(
            lambda p: plain_loss(nnx.merge(graphdef, p), scene, picked)
        )(params)

    loss, grads = compute(params)
    flat = by_path(grads)
    norms = {}
    for theirs, ours in convert.nerf_layers(model.config):
        norms[f"{theirs}.weight"] = float(np.linalg.norm(flat[f"{ours}.kernel"]))
        norms[f"{theirs}.bias"] = float(np.linalg.norm(flat[f"{ours}.bias"]))
    for theirs, ours in convert.nerf_tables(model.config):
        norms[theirs] = float(np.linalg.norm(flat[ours]))
    return float(loss), norms


def torch_python() -> str | None:
    """A Python that has torch."""
    named = os.environ.get(TORCH_PYTHON)
    if named:
        return named
    return sys.executable if importlib.util.find_spec("torch") else None


class Torch:
    """The PyTorch program, which answers while it is open."""

    def __init__(self, python: str, state: Any, scene: FieldScene, picked: np.ndarray):
        rays = field_scene.rays_of(scene, *picked.T, official=True)
        arrays: dict[str, Any] = {k: np.asarray(getattr(rays, k)) for k in NAMES}
        for name in ("slots", "looks"):
            arrays[name] = arrays[name].astype(np.int64)
        colors = field_scene.values_of(scene.images, *picked.T)
        arrays["colors"] = np.asarray(colors)
        self._folder = tempfile.TemporaryDirectory()
        files = [str(pathlib.Path(self._folder.name) / f"{k}.npz") for k in "ab"]
        np.savez(files[0], **state)
        np.savez(files[1], **arrays)
        self._child = subprocess.Popen(
            [python, str(TORCH_PROGRAM), *files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # It has no answer then either.
            print(json.dumps(request), file=self._child.stdin, flush=True)
        answer = self._child.stdout.readline()
        if not answer:
            raise RuntimeError(f"{TORCH_PROGRAM.name} ended: {self._child.wait()}")
        return json.loads(answer)

    def __enter__(self) -> "Torch":
        return self

    def __exit__(self, *_: Any) -> None:
        self._child.communicate()
        self._folder.cleanup()


def trainer(
    loss: Any, init: Any, tx: Any, block: Block, pieces: int = 1
) -> Callable[[], Any]:
    """Takes the steps of a block, from where the call before ended."""
    mesh = make_mesh(1)
    plan = make_plan(init, tx, mesh)
    step = make_train_step(loss, plan, tx, mesh, pieces=pieces)
    box = [start(init, jax.random.key(0), tx, plan)]
    key = jax.random.key(1)

    def run() -> jax.Array:
        box[0], logs, _ = step(box[0], block, key)
        return jax.block_until_ready(logs["loss"].total)

    return run


def official_flops(config: NerfConfig, settings: RenderSettings) -> float:
    """Of a ray's training step: six for each weight and sample."""
    sizes = {
        name.removesuffix(".weight"): value.size
        for name, value in random_state(config).items()
        if name.endswith(".weight") and not name.startswith("embedding")
    }
    coarse = sum(v for k, v in sizes.items() if k.startswith("nerf_coarse"))
    fine = settings.num_coarse + settings.num_fine
    total = coarse * settings.num_coarse + (sum(sizes.values()) - coarse) * fine
    return 6.0 * total


def official_row(
    config: NerfConfig = NerfConfig(),  # noqa: B008 (frozen)
    num_rays: int = 1024,
    pieces: int = 16,
    torch_rays: int = 64,
    turns: int = 3,
) -> dict[str, Any]:
    """A step of the published network; PyTorch takes as many rays in steps of few."""
    scene, settings, state = make_scene(), RenderSettings(), random_state(config)
    picked = rays_in(scene, 1, num_rays)
    run = trainer(
        field_learning.nerf_loss(settings),
        lambda key: Nerf(config, rngs=nnx.Rngs(key)),
        make_optimizer(OptimConfig(learning_rate=5e-4)),
        Block(RayBatch(picked), scene),
        pieces,
    )
    _, compile_s = first_call(run)
    ours, reference, error = cpu_ms([run], 1)[0], None, None
    # Before anything else of this process needs memory.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    python = torch_python()
    about = f"no torch: {TORCH_PYTHON} names no Python that has it"
    if python is not None:
        with Torch(python, state, scene, picked[0]) as torch:
            loss = torch.ask(check=torch_rays)["loss"]
            reference = np.inf
            for _ in range(turns):
                seconds = torch.ask(steps=num_rays // torch_rays, rays=torch_rays)
                reference = min(reference, 1e3 * sum(seconds["seconds"]))
                ours = min(ours, cpu_ms([run], 1)[0])
        error = abs(loss_and_norms(state, scene, picked[0, :torch_rays])[0] / loss - 1)
        about = f"torch {1e3 * num_rays / reference:.1f} rays/s"
    floor = machine().floor_ms(num_rays * official_flops(config, settings))
    return line(
        f"official training, 64 + 64 samples, W = {config.width}, {num_rays} rays",
        ours,
        reference=reference,
        error=error,
        compile_s=compile_s,
        note=f"bar: 0.8x; ours {1e3 * num_rays / ours:.1f} rays/s, {about}; peak "
        f"{peak:.0f} MB (bar: 1500); products {machine().flops / 1e9:.0f} GFLOP/s; "
        + floor_note(ours, floor),
    )


# ------------------------------------------------------------------- the fast fields


def bench_config() -> Any:
    """The config of quality per time: `configs/decomposition.py:bench`."""
    sys.path.insert(0, str(CONFIGS))
    return importlib.import_module("decomposition").get_config("bench")


def plane_config() -> Any:
    """The same with planes."""
    config = bench_config()
    config.grid.kind = "planes"
    return config


def spec_size_config() -> Any:
    """The same with larger tables, more intervals and more rays a step."""
    config = bench_config()
    large = GridConfig()
    for name in ("static", "moving", "proposal"):
        config.grid[name] = dataclasses.asdict(getattr(large, name))
        del config.grid[name]["features"]
    config.grid.num_proposal, config.grid.num_final = 64, 48
    config.train.batch_size = 4096
    return config


def fields_of(config: Any, scene: FieldScene) -> tuple[Fields, GridConfig]:
    """The fields of a config, and the sizes of their networks."""
    found = field_models.build(config, field_models.describe(config, scene))
    model: Any = nnx.eval_shape(lambda: found.init(jax.random.key(0)))
    return found, model.config


class Work(NamedTuple):
    """What must be done at least."""

    flops: float  # Of products.
    bytes: float  # Of the sectors of table reads.

    def times(self, count: float) -> "Work":
        return Work(self.flops * count, self.bytes * count)

    def plus(self, other: "Work", count: float) -> "Work":
        more = other.times(count)
        return Work(self.flops + more.flops, self.bytes + more.bytes)


def encode_work(grid: Grid) -> Work:
    """Of the features of a point."""
    if isinstance(grid, HashGrid):
        return Work(0.0, 8.0 * grid.levels * SECTOR_BYTES)
    rows, features = grid.table_shape
    return Work(2.0 * rows * features, 0.0)  # Each node counts once.


def pull_work(grid: Grid) -> Work:
    """Of the gradient of the table, where it is known what planes say of the point."""
    # Sectors are read and written; of products there is one as large.
    return encode_work(grid).times(2.0 if isinstance(grid, HashGrid) else 1.0)


def grid_work(config: Any, sizes: GridConfig, *, train: bool = True) -> Work:
    """Of a ray's training step, or of showing it; of what is done for each sample."""
    model = nnx.eval_shape(lambda: GridFields(sizes, rngs=nnx.Rngs(0)))

    def products(*nets: Any) -> int:
        return sum(layer.kernel.size for net in nets for layer in net.layers)

    final, proposal = config.grid.num_final, config.grid.num_proposal
    rendered = products(model.geometry, model.color, model.moving, model.actor)
    flops = 2.0 * (rendered * final + products(model.proposal) * proposal)
    total = Work(3.0 * flops if train else flops, 0.0)
    for grid, count in (
        (sizes.proposal, proposal),
        (sizes.static, final),
        (sizes.moving, final),
    ):
        total = total.plus(encode_work(grid), count)
        if train:
            total = total.plus(pull_work(grid), count)
    return total


def grid_row(name: str, config: Any, steps: int = 10, turns: int = 3) -> dict[str, Any]:
    """A training step of the fast fields."""
    scene, num_rays = make_scene(), config.train.batch_size
    found, sizes = fields_of(config, scene)
    run = trainer(
        found.loss,
        found.init,
        make_optimizer(field_config.optimizer(config, config.train.steps)),
        Block(RayBatch(rays_in(scene, steps, num_rays)), scene),
    )
    _, compile_s = first_call(run)
    ours = cpu_ms([run], turns)[0] / steps
    floor = machine().floor_ms(*grid_work(config, sizes).times(num_rays))
    return line(
        f"{name}, {num_rays} rays",
        ours,
        compile_s=max(compile_s - 1e-3 * ours * steps, 0.0),
        note=f"{1e3 * num_rays / ours:.0f} rays/s (bar: 3000; compile: 20 s); "
        + floor_note(ours, floor),
    )


class Peak:
    """The most memory that this process holds, above what it holds now."""

    def __init__(self) -> None:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # Forget former peaks.
        self._before = self._read("VmRSS")

    def megabytes(self) -> float:
        return self._read("VmHWM") - self._before

    def _read(self, field: str) -> float:
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024


def frame_row(
    name: str,
    config: Any,
    size_hw: tuple[int, int] = (128, 228),
    turns: int = 3,
) -> dict[str, Any]:
    """A frame with all layers: colour, streams, masks, depths, uncertainty."""
    scene = make_scene(1, size_hw)
    found, sizes = fields_of(config, scene)
    model = found.init(jax.random.key(0))
    draw = field_frames.make_renderer(found, model, size_hw, chunk=config.render.chunk)
    _, compile_s = first_call(lambda: draw(scene, 0).rgb)
    peak = Peak()
    ours = cpu_ms([lambda: draw(scene, 0)], turns)[0]
    pixels = size_hw[0] * size_hw[1]
    floor = machine().floor_ms(*grid_work(config, sizes, train=False).times(pixels))
    whole = 4e-6 * pixels * config.grid.num_final * sizes.width
    return line(
        f"{name}, {size_hw[1]}x{size_hw[0]}, all layers",
        ours,
        compile_s=max(compile_s - 1e-3 * ours, 0.0),
        note=f"{1e3 * pixels / ours:.0f} rays/s; peak {peak.megabytes():.0f} MB more "
        f"(one layer's tensor for the whole frame: {whole:.0f} MB); "
        + floor_note(ours, floor),
    )


# ---------------------------------------------------------------------- operations


def encode_rows(
    name: str, grid: Grid, num_points: int, turns: int = 5
) -> Iterator[dict[str, Any]]:
    """Features of points from a table, and the gradient of the table."""
    rng = np.random.default_rng(0)
    points = rng.random((num_points, 3), np.float32)
    table = rng.normal(size=grid.table_shape).astype(np.float32)
    slope = rng.normal(size=(num_points, grid.dim)).astype(np.float32)
    on_device = jax.device_put((points, table, slope))

    @jax.jit
    def pull(points: Any, table: Any, slope: Any) -> Any:
        return jax.vjp(lambda t: encode(points, t, grid), table)[1](slope)[0]

    paths = (
        (
            "features",
            encode_work(grid),
            lambda: encode(on_device[0], on_device[1], grid),
            lambda: field_references.encode(points, table, grid),
        ),
        (
            "gradient",
            pull_work(grid),
            lambda: pull(*on_device),
            lambda: field_references.slope(points, table, slope, grid),
        ),
    )
    for what, work, call, plain in paths:
        out, compile_s = first_call(call)
        ours, simple = cpu_ms([lambda c=call: jax.block_until_ready(c()), plain], turns)
        yield line(
            f"{name}, {grid.levels} levels, {num_points} points, {what}",
            ours,
            simple=simple,
            error=largest_error(out, plain()),
            compile_s=compile_s,
            note=floor_note(ours, machine().floor_ms(*work.times(num_points))),
        )


def operation_row(
    name: str, call: Callable[[], Any], plain: Callable[[], Any], moved: int, turns: int
) -> dict[str, Any]:
    """An operation that reads and writes `moved` bytes at least."""
    out, compile_s = first_call(call)
    ours, simple = cpu_ms([lambda: jax.block_until_ready(call()), plain], turns)
    return line(
        name,
        ours,
        simple=simple,
        error=largest_error(out, plain()),
        compile_s=compile_s,
        note=floor_note(ours, machine().floor_ms(0.0, moved)),
    )


def sampling_row(num_rays: int = 1024, num: int = 64, turns: int = 9) -> dict[str, Any]:
    """Importance samples by the weights of a coarse pass."""
    rng = np.random.default_rng(0)
    bins = np.sort(rng.random((num_rays, num - 1), np.float32), axis=1)
    weights, u = (rng.random((num_rays, n), np.float32) for n in (num - 2, num))
    on_device = jax.device_put((bins, weights**4, u))
    return operation_row(
        f"importance samples, {num_rays} rays, {num} of {num} bins",
        lambda: sampling.sample_pdf(*on_device),
        lambda: field_references.sample_pdf(bins, weights**4, u),
        bins.nbytes + weights.nbytes + 2 * u.nbytes,
        turns,
    )


def composite_row(
    num_rays: int = 1024, num: int = 128, turns: int = 9
) -> dict[str, Any]:
    """Colour, masks and depth of three streams."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0.1, 6.0, (num_rays, num)).astype(np.float32), axis=1)
    density = rng.exponential(size=(3, num_rays, num)).astype(np.float32)
    rgb = rng.random((3, num_rays, num, 3), np.float32)
    delta = np.asarray(render.deltas(t))
    on_device = jax.device_put((density, delta, rgb, t))

    @jax.jit
    def ours(density: Any, delta: Any, rgb: Any, t: Any) -> Any:
        mixed = render.stream_weights(density, delta, last="official")
        seen = render.composite_streams(mixed, rgb, t)
        return jnp.concatenate([seen.rgb, seen.masks.T, seen.depth[:, None]], axis=1)

    return operation_row(
        f"compositing, {num_rays} rays, 3 streams, {num} samples",
        lambda: ours(*on_device),
        lambda: field_references.composite(density, delta, rgb, t),
        density.nbytes + delta.nbytes + rgb.nbytes + t.nbytes,
        turns,
    )


def colors_row(
    num_frames: int = 64,
    size_hw: tuple[int, int] = (256, 456),
    batch: int = 1024,
    turns: int = 3,
) -> dict[str, Any]:
    """Batches of an epoch with colours that the host looks up; their order apart."""
    pixels, frames = size_hw[0] * size_hw[1], np.arange(num_frames)
    size = (num_frames, *size_hw, 3)
    images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    steps = num_frames * pixels // batch

    def source() -> Iterator[RayBatch]:
        layers = {"images": images}
        return field_batches.ray_batches(frames, pixels, batch, 0, layers=layers)

    first = next(source())
    rays = np.asarray(first.rays)
    epoch, order, reference, simple = cpu_ms(
        [
            lambda: collections.deque(itertools.islice(source(), steps), maxlen=0),
            lambda: next(source()),
            lambda: field_references.item_wise(images, rays),
            lambda: field_references.colors(images, rays),
        ],
        turns,
    )
    error = largest_error(
        first.layers["images"].astype(float), field_references.item_wise(images, rays)
    )
    rate = 1e-3 * batch * steps / epoch
    return line(
        f"colours from the host, {batch} rays of {num_frames} frames",
        (epoch - order) / steps,
        reference=reference,
        simple=simple,
        error=error,
        note=f"with the order of rays, {1e6 * order / steps / batch:.0f} ns each, "
        f"{rate:.1f} M rays/s: {0.5 / rate:.0%} of the time at 0.5 M rays/s",
    )


if __name__ == "__main__":
    one_core.print_rows(one_core_rows())
