"""Quality per time of radiance fields: a clip learned for so many CPU-seconds.

  python experiments/field_quality.py --seeds=0-2       to develop on
  python experiments/field_quality.py --seeds=100-102   the table, never to tune on
  python experiments/field_quality.py --seeds=100-102 --kind=neuraldiff --seconds=600
  python experiments/field_quality.py --config.grid.kind=planes   and other fields

The config is configs/decomposition.py:bench; with --kind=neuraldiff the published
network at W = 64 and 32 + 32 samples, 128 rays a step, its rate falling over the run.
Compiling does not count. Scores are of held-out frames. One core: pin the process
(taskset -c 0), so that its seconds are one core's.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

# One thread: what is counted is the time of one core.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
)

import jax
import numpy as np
from flax import nnx

from egojax.apps import cli
from egojax.data import arrays
from egojax.errors import UsageError
from egojax.methods import field_batches, field_frames, field_scene, field_scores
from egojax.methods.field_scene import SceneFrames
from egojax.methods.field_scores import ScoredFrame
from egojax.metrics import format_table
from egojax.metrics.schema import mean_of_results
from egojax.task import Block
from egojax.tasks import (
    clips,
    decomposition,
    field_config,
    field_models,
    field_training,
)
from egojax.train import step
from egojax.train.mesh import make_mesh, put, put_block, whole
from egojax.train.optim import make_optimizer
from egojax.types import Clip

COLUMNS = ("psnr", "psnr_static", "psnr_dynamic", "mAP", "mAP_moving", "mAP_actor")
PUBLISHED_RATE = 1800  # Rays a CPU-second, at most: for the steps of its schedule.
PUBLISHED_BATCH = 128


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--kind", default="grid", choices=("grid", "neuraldiff"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", default="runs/field_quality")
    arguments, overrides = parser.parse_known_args(argv)
    unknown = [word for word in overrides if not word.startswith("--config.")]
    if unknown:
        parser.error(f"not understood: {' '.join(unknown)}")
    try:
        config = make_config(arguments.kind, arguments.seconds, overrides)
    except UsageError as err:
        parser.error(str(err))
    config.data.clips = arguments.seeds
    rows = {}
    opened = clips.make(config, field_config.prepared, field_config.settled)
    for name, opener in opened.items():
        clip = opener()
        frames = field_scene.read_scene(clip)
        numbers = learn(config, clip, frames, arguments.seconds)
        rows[name] = numbers
        told = {k: round(float(v), 3) for k, v in numbers.items()}
        print(f"{arguments.kind} {name}: {told}", flush=True)
    rows["mean"] = mean_of_results(list(rows.values()))
    columns = (*COLUMNS, "cpu_seconds", "steps", "rays_per_cpu_second")
    print(format_table(rows, columns, corner=f"{arguments.kind}, held-out frames"))
    folder = pathlib.Path(arguments.out)
    arrays.make_folder(folder)
    name = f"{arguments.kind}-{arguments.seconds:g}-{arguments.seeds}.json"
    arrays.write_json(folder / name, rows)
    return 0


def make_config(kind: str, seconds: float, overrides: Sequence[str] = ()) -> Any:
    """The config of a run.

    Raises:
      UsageError: an override (--config.FIELD=VALUE) that is not understood.
    """
    words = ["--config=configs/decomposition.py:bench"]
    if kind != "grid":
        steps = int(PUBLISHED_RATE * seconds / PUBLISHED_BATCH)
        words = [
            "--config=configs/decomposition.py:official+bench",
            f"--config.fields.kind={kind}",
            "--config.nerf.model_width=64",
            "--config.nerf.N_samples=32",
            "--config.nerf.N_importance=32",
            f"--config.train.batch_size={PUBLISHED_BATCH}",
            "--config.train.epochs=0",
            f"--config.train.steps={steps}",
            "--config.train.learning_rate=5e-4",
        ]
    return cli.parse([*words, *overrides]).config


def learn(config, clip: Clip, frames: SceneFrames, seconds: float) -> dict[str, float]:
    """Trains for so long, or to the end of the config's steps; scores."""
    scene = frames.scene
    made = field_models.build(config, field_models.describe(config, scene))
    mesh = make_mesh(1)
    tx = make_optimizer(field_config.optimizer(config, config.train.steps))
    plan = step.make_plan(made.init, tx, mesh)
    first, noise = jax.random.split(jax.random.key(config.seed))
    state = step.start(made.init, first, tx, plan)
    batches = field_batches.ray_batches(
        frames.rows("train"),
        int(np.prod(scene.size_hw)),
        config.train.batch_size,
        config.seed,
    )
    on_device = put(scene, whole(mesh))

    def block():
        steps = field_batches.next_steps(batches, config.train.block)
        return put_block(Block(steps, on_device), mesh)

    train: Any = step.make_train_step(made.loss, plan, tx, mesh)
    compiled = train.lower(state, block(), noise).compile()
    used, done = 0.0, 0
    while used < seconds and done < config.train.steps:
        steps = block()
        start = time.process_time()
        state, _, finite = compiled(state, steps, noise)
        jax.block_until_ready(finite)
        used += time.process_time() - start
        done += config.train.block
    model = nnx.merge(plan.graphdef, state.params, state.rest)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        field_training.place_held_out(
            config, clip, made, model, frames, pathlib.Path(folder)
        )
    placing = time.process_time() - start
    placed = frames._replace(scene=made.placed(model, scene))
    render = field_frames.make_renderer(made, model, scene.size_hw)
    numbers = score(clip, placed, render)
    return numbers | {
        "cpu_seconds": used,
        "placing_cpu_seconds": placing,  # With compiling.
        "steps": done,
        "rays_per_cpu_second": done * config.train.batch_size / used,
    }


def score(clip: Clip, frames: SceneFrames, render) -> dict[str, float]:
    """Numbers of held-out frames."""

    def shown():
        assert clip.frames is not None
        for row in frames.rows("val", "test"):
            t = int(frames.frame_idx[row])
            truth = decomposition.truth_of(clip, t)
            depth = truth.pop("static_depth", None)
            images = render(frames.scene, int(row))
            name = clip.frame_ids[t]
            yield ScoredFrame(name, "test", images, clip.frames[t], truth, depth)

    found = field_scores.score_frames(shown(), ssim=False).groups["held_out"]
    return {k: v for k, v in found.items() if isinstance(v, float)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
