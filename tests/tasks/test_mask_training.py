"""Training of masks: stopped or not, on any devices, and what it finds."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from egojax.apps import cli
from egojax.errors import UsageError
from egojax.methods import mask_learning
from egojax.methods.motion_clips import MotionClip
from egojax.tasks import mask_training
from egojax.train import loop
from egojax.types import Clip, PointTracks, Source

HW = (32, 48)


def two_textures(num_frames=12, seed=0) -> tuple[MotionClip, np.ndarray]:
    """A striped square that goes right over a spotted ground that goes left; truth."""
    rng = np.random.default_rng(seed)
    height, width = HW
    i, j = np.mgrid[:height, :width]
    spots = rng.integers(0, 2, (8, 40)).repeat(4, 0).repeat(4, 1)
    frames, inside = [], []
    for t in range(num_frames):
        ground = spots[i, j + t + 20] * 60 + 40
        square = (abs(i - 16) < 9) & (abs(j - 12 - 2 * t) < 9)
        stripes = 120 + 120 * ((j - 2 * t + i) // 3 % 2)
        grey = np.where(square, stripes, ground)
        frames.append(np.stack([grey, 255 - grey, grey // 2], -1).astype(np.uint8))
        inside.append(square)
    truth = np.stack(inside)

    def flow(gap: int) -> Source:
        moved = np.where(truth[..., None], [2.0 * gap, 0.0], [-1.0 * gap, 0.0])
        there = [0 <= t + gap < num_frames for t in range(num_frames)]
        return Source.of(
            [moved[t].astype(np.float32) if ok else None for t, ok in enumerate(there)]
        )

    flows = {gap: flow(gap) for gap in (1, -1, 2, -2)}
    return MotionClip("two", Source.of(frames), flows, tracks_of(truth)), truth


def tracks_of(truth: np.ndarray) -> PointTracks:
    """Points of a grid in the first frame, each followed while it is in view."""
    num_frames, height, width = truth.shape
    xy, count = [], []
    for y, x in itertools.product(range(2, height, 3), range(1, width, 3)):
        speed = 2.0 if truth[0, y, x] else -1.0
        path = np.array([(x + 0.5 + speed * t, y + 0.5) for t in range(num_frames)])
        seen = (path[:, 0] >= 0) & (path[:, 0] < width)
        column = np.clip(path[:, 0].astype(int), 0, width - 1)
        same = truth[np.arange(num_frames), y, column] == truth[0, y, x]
        length = int(np.logical_and.accumulate(seen & same).sum())
        xy.append(path[:length])
        count.append(length)
    first = np.zeros(len(count), np.int32)
    places = np.concatenate(xy).astype(np.float32)
    return PointTracks(first, np.array(count, np.int32), places, HW)


def config(**changes) -> ConfigDict:
    path = cli.find_config("configs/motion_seg.py")[0]
    fields = cli.load_config(path, "").network
    small = dict(
        sees_flow=False,
        steps=6,
        batch_size=4,
        size_hw=HW,
        width=8,
        num_masks=2,
        half=5,
        smooth=3,
        num_points=128,
        warmup_steps=2,
        log_every=1,
        checkpoint_every=2,
    )
    with fields.unlocked():
        fields.update(small)
        fields.update(changes)
    return fields


CLIP, TRUTH = two_textures()


def train(folder, clips=(CLIP,), **changes):
    return mask_training.train(config(**changes), clips, folder, devices=1)


def weights(model) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(model))]


def logged(folder) -> list[dict]:
    rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [row for row in rows if row["event"] == "train"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return train(folder), folder


def test_a_run_that_was_stopped_ends_as_one_that_never_was(tmp_path, straight):
    """Bitwise; the second call goes on from the checkpoint of the first."""
    fields, done, stop_at = config(), [], 4

    def stop(step: int, total: int) -> None:
        done.append(step)
        if step == stop_at:
            raise loop.Interrupted("stopped")

    with pytest.raises(loop.Interrupted):
        mask_training.train(fields, [CLIP], tmp_path, stop, devices=1)
    again = mask_training.train(
        fields, [CLIP], tmp_path, lambda step, _: done.append(step), devices=1
    )
    last = stop_at // 2 * 2  # Checkpoints are of every second step.
    assert done == [*range(1, stop_at + 1), *range(last + 1, 7)]
    for a, b in zip(weights(again), weights(straight[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def nameless() -> Clip:
    return Clip(name="two", frame_ids=("0",), size_hw=HW)


def test_batches_of_a_task_are_of_all_its_clips_and_begin_where_they_are_told():
    other = two_textures(9, seed=1)[0]
    found = {"a": CLIP, "b": other}
    task = mask_training.make_task(config(), lambda clip: found[clip.name])
    clips = [nameless().replace(name=name) for name in found]
    key = jax.random.key(3)
    whole = list(itertools.islice(task.batches(clips, key, 0), 37))
    later = next(task.batches(clips, key, 2))
    jax.tree.map(np.testing.assert_array_equal, whole[2], later)
    # Items: 11 + 10 of the first clip, 8 + 7 of the second. Sums do not see mirrors.
    of_other = {int(frame.sum()) for frame in other.frames}
    firsts = [int(batch.images[0, 0].sum()) for batch in whole[:36]]
    assert sum(value in of_other for value in firsts) == 15
    assert whole[0].ramp[0] == pytest.approx(0.001)
    assert whole[6].ramp[0] == 1


def iou(model, size_hw=HW) -> float:
    """Of the better mask, the same one in all frames, with the square."""
    masks = np.stack(list(mask_learning.small_masks(model, CLIP.frames, size_hw)))
    hard = masks.argmax(1)
    scores = []
    for k in range(masks.shape[1]):
        shared = ((hard == k) & TRUTH).sum((1, 2))
        scores.append((shared / ((hard == k) | TRUTH).sum((1, 2))).mean())
    return max(scores)


def test_masks_of_two_things_that_move_are_found_without_labels(tmp_path):
    fields = dict(steps=60, learning_rate=5e-3, checkpoint_every=60, log_every=10)
    start = mask_training.make_task(config()).init(jax.random.key(0))
    model = train(tmp_path, **fields)
    rows = logged(tmp_path)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    for name in ("flow_loss", "tracks_loss", "temporal_loss", "grad_norm"):
        assert np.isfinite([row[name] for row in rows]).all()
    assert iou(start) < 0.5 < 0.8 < iou(model)


def test_what_it_is_trained_on_may_lie_in_files(tmp_path, straight):
    model = train(tmp_path, page_folder=True)
    for a, b in zip(weights(model), weights(straight[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoints", "log.jsonl", "tensorboard"}


def test_a_network_that_sees_flow_has_two_channels_more(tmp_path):
    model = train(tmp_path, sees_flow=True, steps=1)
    assert model.config.features == 5
    flows = CLIP.flows[1], CLIP.flows[-1]
    masks = mask_learning.small_masks(model, CLIP.frames, HW, flows)
    assert np.isfinite(masks[11]).all()


def test_settings_that_make_no_sense_are_told_at_once(tmp_path):
    wrong = dict(batch_size=8, pieces=3, width=12, smooth=4, gaps=(0,), size_hw=(4, 9))
    with pytest.raises(UsageError) as err:
        train(tmp_path, **wrong)
    assert [line.split("=")[0] for line in str(err.value).splitlines()] == [
        *("batch_size", "width", "smooth", "gaps", "size_hw")
    ]
    with pytest.raises(UsageError, match="num_masks=1: below 2"):
        mask_training.check(config(num_masks=1))
    with pytest.raises(UsageError, match="dtype=int8: there are float32, bfloat16"):
        mask_training.check(config(dtype="int8"))
    with pytest.raises(UsageError, match="two: no flow over a gap of 3"):
        train(tmp_path, gaps=(3,))
    with pytest.raises(UsageError, match="there are no clips"):
        train(tmp_path, clips=())
    tracks = dataclasses.replace(CLIP.tracks, xy=CLIP.tracks.xy * np.nan)
    with pytest.raises(UsageError, match="two: point tracks with places that are not"):
        train(tmp_path, clips=(dataclasses.replace(CLIP, tracks=tracks),))
