"""The run folder: what a job writes, and how a stopped job goes on.

    DIR/config.json       resolved config, seed, versions, commit, device
    DIR/log.jsonl         one event a line
    DIR/metrics.json      {"clips": {name: {...}}, "all": {...}}
    DIR/clips/NAME/       a clip's results; done.json lists its finished stages

Every file is written under a temporary name and renamed, so that a run may be killed at
any moment; a stage that is not in done.json is run again.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

from egojax.data import arrays
from egojax.data.values import flatten
from egojax.errors import UsageError
from egojax.metrics.schema import to_json

PACKAGES = ("egojax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")
# Fields that choose what is done and where, not what comes out.
FREE_FIELDS = ("mode", "view", "read", "mesh", "show")


class ClipFolder:
    """The results of one clip."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    @property
    def _stages(self) -> dict[str, Any]:
        path = self.path / "done.json"
        return arrays.read_json(path) if path.exists() else {}

    def done(self, stage: str) -> dict[str, Any] | None:
        """What the finished stage noted down, or None if it has not finished."""
        return self._stages.get(stage)

    def mark(self, stage: str, **info: Any) -> None:
        """Notes that the stage has finished."""
        arrays.write_json(self.path / "done.json", {**self._stages, stage: info})

    def forget(self, stages: list[str]) -> None:
        """Lets these stages run again."""
        kept = {k: v for k, v in self._stages.items() if k not in stages}
        arrays.write_json(self.path / "done.json", kept)


class RunFolder:
    """The folder of one run. Opening it checks that it belongs to the same config."""

    def __init__(self, path: pathlib.Path, config: dict[str, Any]):
        """Creates the folder or opens an earlier run of the same config.

        Raises:
          UsageError: the folder holds a run of another config, or something else.
        """
        self.path = path
        file = path / "config.json"
        if file.exists() and any(path.glob("clips/*/done.json")):
            _check_same(path, arrays.read_json(file).get("config", {}), config)
        elif file.exists():  # Nothing has come of that run: it is this one's now.
            arrays.write_json(file, {"config": config, **describe_machine()})
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path}: exists and is no run folder; name a new one")
        else:
            path.mkdir(parents=True, exist_ok=True)
            arrays.write_json(file, {"config": config, **describe_machine()})

    def clip(self, name: str) -> ClipFolder:
        """The folder of the clip with this name."""
        return ClipFolder(self.path / "clips" / name)

    def log(self, event: str, **values: Any) -> None:
        """Appends one line to log.jsonl."""
        append_event(self.path / "log.jsonl", event, **values)


def append_event(path: pathlib.Path, event: str, **values: Any) -> None:
    """Appends one line; NaN becomes null, and lines of parallel shards do not mix."""
    row = {"time": round(time.time(), 3), "event": event, **values}
    line = json.dumps(to_json(row)) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def open_run(path: pathlib.Path) -> dict[str, Any]:
    """Returns config.json of an existing run folder.

    Raises:
      UsageError: this is no run folder.
    """
    if not (path / "config.json").is_file():
        raise UsageError(f"{path}: no run folder (it has no config.json)")
    return arrays.read_json(path / "config.json")


def describe_machine() -> dict[str, Any]:
    """Versions, commit and device: what a number needs to be repeated."""
    import jax

    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return {
        "versions": {"python": platform.python_version(), **found},
        "commit": _commit(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def _commit() -> str | None:
    try:
        out = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return out.stdout.strip() or None


def _check_same(path: pathlib.Path, old: dict, new: dict) -> None:
    old, new = flatten(old), flatten(json.loads(json.dumps(to_json(new))))
    for key in sorted(old.keys() | new.keys()):
        if key.split(".")[0] in FREE_FIELDS or old.get(key) == new.get(key):
            continue
        raise UsageError(
            f"{path}: a run of another config; it differs first in {key}: there "
            f"{old.get(key)!r}, here {new.get(key)!r}; give another --workdir"
        )
