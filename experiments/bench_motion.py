"""Losses of motion on one core, beside what one would write at first.

The tail's references are singular values by `jnp.linalg.svd` with its own gradient, and
by NumPy with the gradient written by hand; both in float32, as the published loss. The
flow fit's is least squares by `jnp.linalg.qr`, differentiated. Errors are against
float64. A training step has its network beside its losses; its reference is the same
step with the tail by `jnp.linalg.svd`. The job is run as a user runs it, its reference
is the baseline that needs flow alone.
"""

import dataclasses
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import one_core
from bench_rows import line
from flax import nnx

from egojax.methods.mask_learning import MaskLoss, masks_of
from egojax.methods.motion_batches import MotionBatch
from egojax.models.unet import UNet, UNetConfig
from egojax.ops.flow import flow_loss
from egojax.ops.image import sample_masks
from egojax.ops.motion_losses import MARGIN, MotionImages, motion_loss
from egojax.ops.subspace import lowrank_tail, stack_tracks

FRAMES, MASKS, RANK = 41, 4, 5
SIZE_HW = (480, 854)
ROOT = pathlib.Path(__file__).resolve().parents[1]


def rows() -> Iterator[dict[str, Any]]:
    """All lines of this suite; but for the job from a process on one core."""
    yield from one_core.rows_of(__file__)
    yield job_row()


def one_core_rows() -> Iterator[dict[str, Any]]:
    for num in (7_000, 70_000):
        yield from tail_rows(num, turns=5 if num < 10_000 else 2)
    yield from tail_rows(7_000, turns=5, smooth=11)
    yield flow_row(SIZE_HW)
    yield step_row(4096)
    yield step_row(70_000, turns=1, has_reference=False)


# -------------------------------------------------------------------------- the tail


def trajectories(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four bodies of noisy points under affine motions, and soft masks; pixels."""
    rng = np.random.default_rng(seed)
    parts = []
    for count in (num - 3 * (num // 4), *[num // 4] * 3):
        points = np.concatenate([rng.uniform(0, 480, (2, count)), np.ones((1, count))])
        turn = np.eye(2, 3) + np.cumsum(0.01 * rng.normal(size=(FRAMES, 2, 3)), 0)
        turn[:, :, 2] += np.cumsum(3 * rng.normal(size=(FRAMES, 2)), 0)
        parts.append(np.moveaxis(turn @ points, 1, 0).reshape(2 * FRAMES, count))
    columns = np.concatenate(parts, 1) + 0.3 * rng.normal(size=(2 * FRAMES, num))
    logits = rng.normal(size=(MASKS, num))
    masks = np.exp(logits) / np.exp(logits).sum(0)
    return columns.astype(np.float32), masks.astype(np.float32)


def by_numpy(columns: np.ndarray, masks: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean tail, and its gradient by the masks."""
    total, slopes = 0.0, []
    for mask in masks:
        u, s, v = np.linalg.svd(columns * mask, full_matrices=False)
        total += s[RANK:].sum()
        slopes.append(((u[:, RANK:] @ v[RANK:]) * columns).sum(0))
    return total / len(masks), np.stack(slopes) / len(masks)


@jax.jit
@jax.value_and_grad
def by_jax(masks: Any, columns: Any) -> Any:
    """The mean tail by `jnp.linalg.svd`."""

    def one(mask: Any) -> Any:
        scaled = columns * mask[None]
        return jnp.linalg.svd(scaled, full_matrices=False, compute_uv=False)[
            RANK:
        ].sum()

    return jax.vmap(one)(masks).mean()


def smoothed(columns: np.ndarray, length: int) -> np.ndarray:
    """Moving averages over time: singular values fall by nine orders, as of clips."""
    tracks = columns.reshape(2, FRAMES, -1).astype(np.float64)
    half = length // 2
    means = [tracks[:, max(0, t - half) : t + half + 1].mean(1) for t in range(FRAMES)]
    return np.stack(means, 1).reshape(columns.shape).astype(np.float32)


def tail_rows(num: int, turns: int, smooth: int = 0) -> Iterator[dict[str, Any]]:
    """A line a method; the references run once a turn, with all of them."""
    columns, masks = trajectories(num)
    if smooth:
        columns = smoothed(columns, smooth)
    kind = f", averages of {smooth}" if smooth else ""
    on_device = jax.device_put((masks, columns))
    value, slope = by_numpy(columns.astype(np.float64), masks.astype(np.float64))

    def mean_tail(method: str) -> Any:
        def loss(masks: Any, columns: Any) -> Any:
            return lowrank_tail(columns, masks, RANK, method=method).mean()

        return jax.jit(jax.value_and_grad(loss))

    calls = {name: mean_tail(name) for name in ("gram64", "qr32", "deflate32")}
    found = {
        name: one_core.first_call(lambda f=f: f(*on_device))
        for name, f in calls.items()
    }
    jax.block_until_ready(by_jax(*on_device))
    timed = [*calls.values(), by_jax]
    times = one_core.cpu_ms(
        [
            *(lambda f=f: jax.block_until_ready(f(*on_device)) for f in timed),
            lambda: by_numpy(columns, masks),
        ],
        turns,
    )
    # Half of a product of all masks' rows, by symmetry, and one of their slopes.
    flops = 2 * MASKS * num * len(columns) * (len(columns) / 2 + len(columns) - RANK)
    floor = one_core.machine().floor_ms(flops, 4 * num * (len(columns) + 2 * MASKS))
    for (name, ((loss, by_masks), compile_s)), ours in zip(
        found.items(), times, strict=False
    ):
        error = abs(float(loss) - value) / value
        yield line(
            f"low-rank tail and gradient, {FRAMES} x {num}{kind}, {name}",
            ours,
            reference=times[-2],
            simple=times[-1],
            error=error,
            compile_s=compile_s,
            note=f"gradient {one_core.largest_error(by_masks, slope):.1e}; "
            + one_core.floor_note(ours, floor),
        )


# -------------------------------------------------------------------------- the flow


def plain_flow_loss(masks: Any, flow: Any) -> Any:
    """As the published code: a QR of each mask's weighted design matrix."""
    height, width = flow.shape[:2]
    x, y = jnp.meshgrid(
        jnp.arange(height) / height, jnp.arange(width) / width, indexing="ij"
    )
    basis = jnp.stack([x, y, x * x, y * y, x * y, jnp.ones_like(x)], -1).reshape(-1, 6)
    target = flow.reshape(-1, 2)

    def one(mask: Any) -> Any:
        mask = mask.reshape(-1, 1)
        q, r = jnp.linalg.qr(mask * basis)
        theta = jax.scipy.linalg.solve_triangular(r, q.T @ (mask * target))
        return mask * (basis @ theta)

    return jnp.mean((target - jax.vmap(one)(masks).sum(0)) ** 2)


def flow_row(size_hw: tuple[int, int], turns: int = 3) -> dict[str, Any]:
    """The quadratic fit and the gradient by the masks."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(MASKS, 6, 10)).astype(np.float32)
    logits = jax.image.resize(jnp.asarray(coarse), (MASKS, *size_hw), "linear")
    masks = jax.nn.softmax(4 * logits, 0)
    flow = jnp.asarray(rng.normal(size=(*size_hw, 2)).astype(np.float32))
    ours = jax.jit(jax.value_and_grad(flow_loss))
    plain = jax.jit(jax.value_and_grad(plain_flow_loss))
    (_, slope), compile_s = one_core.first_call(lambda: ours(masks, flow))
    jax.block_until_ready(plain(masks, flow))
    times = one_core.cpu_ms(
        [lambda f=f: jax.block_until_ready(f(masks, flow)) for f in (ours, plain)],
        turns,
    )
    with jax.enable_x64(True):
        wide = masks.astype(jnp.float64), flow.astype(jnp.float64)
        exact = np.asarray(jax.grad(plain_flow_loss)(*wide))
    # Masks, flow and slope are read or written once.
    floor = one_core.machine().floor_ms(0.0, 4 * (2 * masks.size + flow.size))
    return line(
        f"flow fit and gradient, {size_hw[0]} x {size_hw[1]}, {MASKS} masks",
        times[0],
        reference=times[1],
        error=one_core.largest_error(slope, exact),
        compile_s=compile_s,
        note="error of the gradient; " + one_core.floor_note(times[0], floor),
    )


# ------------------------------------------------------------------- a training step


def step_row(
    num: int,
    size_hw: tuple[int, int] = (96, 172),
    turns: int = 2,
    has_reference: bool = True,
) -> dict[str, Any]:
    """A step of the job's network on two quadruples of N points, 41 frames each.

    The note has the share of what is not network, and the process's largest memory.
    """
    settings = MaskLoss(num_points=num)
    given, masks = step_batch(num, size_hw)
    model = UNet(UNetConfig(num_masks=MASKS), rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model, nnx.Param)
    images, motion, gap = given.in_a_row()

    def network(params: Any) -> Any:
        return masks_of(nnx.merge(graphdef, params), images, motion.flow, gap)

    def losses(masks: Any, motion: Any) -> Any:
        return motion_loss(masks, motion, weights=settings.own_weights).total

    def plain_losses(masks: Any, motion: Any) -> Any:
        bare = dataclasses.replace(settings.weights, tracks=0.0)
        others = motion_loss(masks, motion, weights=bare).total
        return others + plain_tracks(masks, motion, settings)

    def step(loss: Any) -> Any:
        return jax.jit(jax.value_and_grad(lambda p, m: loss(network(p), m)))

    def alone(params: Any, masks: Any) -> Any:
        return (network(params) * masks).sum()

    ours, plain, only = step(losses), step(plain_losses), jax.jit(jax.grad(alone))
    (value, _), compile_s = one_core.first_call(lambda: ours(params, motion))
    jax.block_until_ready(only(params, masks))
    calls = [lambda: ours(params, motion), lambda: only(params, masks)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    error = None
    if has_reference:
        expected = float(plain(params, motion)[0])
        error = abs(float(value) - expected) / expected
        calls.append(lambda: plain(params, motion))
    times = one_core.cpu_ms(
        [lambda f=f: jax.block_until_ready(f()) for f in calls], turns
    )
    share = 1 - times[1] / times[0]
    return line(
        f"training step, 8 x {size_hw[0]} x {size_hw[1]}, {num} points",
        times[0],
        reference=times[2] if has_reference else None,
        error=error,
        compile_s=compile_s,
        note=f"losses {share:.0%} of it; {peak:.2f} GiB at most in the process",
    )


def step_batch(num: int, size_hw: tuple[int, int]) -> tuple[MotionBatch, Any]:
    """Eight images of noise and their trajectories; slopes of masks."""
    rng = np.random.default_rng(0)
    columns, _ = trajectories(num)
    tracks = np.moveaxis(columns.reshape(2, FRAMES, num), 0, -1)
    tracks = np.stack([tracks + n for n in range(8)]).reshape(2, 4, FRAMES, num, 2)
    motion = MotionImages(
        tracks=jnp.asarray(tracks),
        visible=jnp.ones((2, 4, FRAMES, num)),
        loc=jnp.asarray(rng.uniform(-1, 1, (2, 4, num, 2)), jnp.float32),
        own=jnp.full((2, 4), FRAMES // 2),
        flow=jnp.asarray(rng.normal(size=(2, 4, *size_hw, 2)), jnp.float32),
        weights=jnp.ones((2, 4, num)),
    )
    images = rng.integers(0, 256, (2, 4, *size_hw, 3), np.uint8)
    batch = MotionBatch(images, motion, np.ones((2, 4), np.float32), np.ones(2))
    slopes = rng.normal(size=(8, MASKS, *size_hw)).astype(np.float32)
    return batch, jnp.asarray(slopes)


def plain_tracks(masks: Any, motion: Any, settings: MaskLoss) -> Any:
    """The term of tracks by `jnp.linalg.svd`, an image at a time."""

    def one(given: Any) -> Any:
        masks, tracks, loc = given
        at_points = jnp.clip(sample_masks(masks, loc), MARGIN, 1 - MARGIN)
        columns = stack_tracks(tracks)
        scaled = columns[None] * at_points[:, None]
        values = jnp.linalg.svd(scaled, full_matrices=False, compute_uv=False)
        return values[:, RANK:].sum(1).mean()

    found = jax.lax.map(one, (masks, motion.tracks, motion.loc))
    return settings.own_weights.tracks * found.mean()


# --------------------------------------------------------------------------- the job


def job_row(variant: str = "") -> dict[str, Any]:
    """The embedded clip from flow to masks; without scores, video and report."""
    ours = stage_seconds("points", variant)
    simple = stage_seconds("flow_clusters", variant)
    total = sum(ours.values())
    shares = ", ".join(f"{name} {s / total:.0%}" for name, s in ours.items())
    return line(
        "points, the embedded clip (bar 180 s; simple: flow_clusters)",
        1e3 * total,
        simple=1e3 * sum(simple.values()),
        note=shares,
    )


def stage_seconds(solver: str, variant: str = "") -> dict[str, float]:
    """Wall time of each stage that leads to masks, through the launcher."""
    with tempfile.TemporaryDirectory() as work:
        words = [
            sys.executable,
            "launch.py",
            f"--config=configs/motion_seg.py{variant}",
            f"--config.solver={solver}",
            "--config.show.overlay=False",
            "--config.show.report=False",
            f"--workdir={work}/run",
        ]
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return until_masks(pathlib.Path(work, "run", "log.jsonl").read_text())


def until_masks(log: str) -> dict[str, float]:
    """The seconds of each stage of a run's log, but for scores and pictures."""
    events = [json.loads(event) for event in log.splitlines()]
    return {
        event["stage"]: event["seconds"]
        for event in events
        if event["event"] == "stage_end" and event["stage"] not in ("score", "show")
    }


if __name__ == "__main__":
    one_core.print_rows(one_core_rows())
