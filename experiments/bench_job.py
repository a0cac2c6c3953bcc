"""The whole tracking job on a long video: memory, and time a frame over its length.

The embedded world's 500 frames are played 40 times by the reader
(`--config.data.repeat`), through the launcher in a process of its own, rendering
included. Two numbers matter: peak resident memory, and whether a frame late in the
video costs more than an early one.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
NUM_FRAMES = int(os.environ.get("EGOJAX_BENCH_JOB_FRAMES", "20000"))
CLIP_FRAMES = 500


def rows() -> Iterator[dict[str, Any]]:
    """Stages through the launcher; `note` holds memory and the drift of time."""
    with tempfile.TemporaryDirectory() as work:
        workdir = pathlib.Path(work) / "run"
        words = [
            "launch.py",
            "--config=configs/tracking.py",
            f"--config.world.num_frames={CLIP_FRAMES}",
            f"--config.data.repeat={-(-NUM_FRAMES // CLIP_FRAMES)}",
            "--config.features.name=file",
            "--config.show.overlay=False",
            "--config.eval.depth=False",
            f"--workdir={workdir}",
        ]
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        early, late = _drift(workdir)
    yield {
        "name": f"tracking job, {NUM_FRAMES} frames 456 x 256, a frame",
        "ours_ms": 1e3 * seconds / NUM_FRAMES,
        "note": f"peak {peak:.2f} GB (bar 2); observing: {early:.1f} ms a frame early, "
        f"{late:.1f} ms late",
    }


def _drift(workdir: pathlib.Path) -> tuple[float, float]:
    """Milliseconds a frame around frame 1,000 and at the end, from the files' times."""
    (clip,) = (workdir / "clips").iterdir()
    files = sorted((clip / "observations").glob("*.npz"))
    stamps = [(int(f.stem), f.stat().st_mtime) for f in files]
    first = json.loads((workdir / "config.json").read_text())["config"]["read"]["chunk"]
    skip = max(1, min(1000, NUM_FRAMES // 4) // first)
    width = max(1, len(stamps) // 10)

    def rate(a: int, b: int) -> float:
        frames = stamps[b][0] - stamps[a][0]
        return 1e3 * (stamps[b][1] - stamps[a][1]) / max(frames, 1)

    last = len(stamps) - 1
    return rate(skip, min(skip + width, last)), rate(max(0, last - width), last)
