"""A small clip with its renderings on disk, as a decomposition leaves them."""

import json
import pathlib

import numpy as np

from egojax.data.stream_images import StreamImages, write_images
from egojax.types import Clip, Source, View

SIZE_HW = (12, 20)


def make_images(
    seed: int, num_streams: int = 3, size_hw: tuple[int, int] = SIZE_HW
) -> StreamImages:
    """Streams whose weights sum to 1, of multiples of 1/256: float16 holds these."""
    rng = np.random.default_rng(seed)

    def coarse(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape).astype(np.float32) / 256

    masks = coarse(num_streams, *size_hw) / num_streams
    masks[0] = 1 - masks[1:].sum(0)
    parts = masks[..., None] * coarse(num_streams, *size_hw, 3)
    return StreamImages(
        rgb=parts.sum(0),
        parts=parts,
        masks=masks,
        depth=1 + coarse(*size_hw),
        static_rgb=coarse(*size_hw, 3),
        static_depth=1 + coarse(*size_hw),
        uncertainty=0.03 + coarse(*size_hw),
    )


def make_clip(num_frames: int = 9, name: str = "clip", annotated: bool = True) -> Clip:
    """Every third frame is held out; frame 3 has no true mask, though it is one."""
    rng = np.random.default_rng(7)
    frames = rng.integers(0, 256, (num_frames, *SIZE_HW, 3), np.uint8)
    mask = np.zeros(SIZE_HW, bool)
    mask[4:9, 5:12] = True
    masks = [None if t == 3 else mask for t in range(num_frames)]
    views = [View(0.1, 5.0, t, "train" if t % 3 else "test") for t in range(num_frames)]
    clip = Clip(
        name=name,
        frame_ids=tuple(f"f{t:03d}" for t in range(num_frames)),
        size_hw=SIZE_HW,
        fps=10.0,
        frames=Source.of(list(frames)),
        views=Source.of(views),
        notes=("made for a test",),
    )
    if not annotated:
        return clip
    truth = clip.replace(streams={"dynamic": Source.of(masks)})
    return clip.replace(truth=truth)


def write_streams(
    folder: pathlib.Path, clip: Clip, times: list[int], num_streams: int = 3
) -> list[StreamImages]:
    """Renderings of these frames in a folder; frame t has seed t."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [make_images(t, num_streams) for t in times]
    for t, images in zip(times, made, strict=True):
        write_images(folder / f"{clip.frame_ids[t]}.npz", images)
    return made


def write_numbers(folder: pathlib.Path, clip: Clip) -> None:
    """Scores and a log of training with a line that was cut off."""
    means = {"psnr": 24.5, "psnr_static": 26.0, "mAP": 0.731, "num_frames": 3}
    scores = {
        "names": {"held_out": means | {"psnr_dynamic": None}, "train": means},
        "frames": {
            name: {"split": "train" if t % 3 else "test", "psnr": 20.0 + t, "ap": 0.7}
            for t, name in enumerate(clip.frame_ids)
        },
        "about": {"fixed_frame": clip.frame_ids[2]},
    }
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "fit").mkdir()
    rows = [
        {
            "event": "train",
            "step": n,
            "squared_error": 0.1 / n,
            "loss": 1 - n,
            "steps_per_second": 39 / 61,
        }
        for n in range(1, 40)
    ]
    lines = "\n".join(map(json.dumps, rows))
    (folder / "fit" / "log.jsonl").write_text(lines + '\n{"event": "train", "st')
