"""The run folder: what a job writes, and how a stopped job goes on.

    DIR/config.json       resolved config, seed, versions, commit, device; where its
                          paths lead, and digests of the files that it names
    DIR/log.jsonl         one event a line
    DIR/metrics.json      {"clips": {name: {...}}, "all": {...}}
    DIR/clips/NAME/       a clip's results; done.json lists its finished stages, with
                          the fields of the config that they read

Every file is written under a temporary name and renamed, so that a run may be killed at
any moment; a stage that is not in done.json is run again.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from egojax.data import arrays
from egojax.data.values import flatten
from egojax.errors import UsageError
from egojax.metrics.schema import to_json

PACKAGES = ("egojax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")
# Fields that choose what is done and where, not what comes out.
FREE_FIELDS = ("mode", "view", "read", "mesh", "hosts", "show")
FREE_NAMES = (
    *(f"train.{n}" for n in ("evaluate_every", "log_every", "checkpoint_every")),
    *(f"network.{n}" for n in ("log_every", "checkpoint_every", "page_folder")),
)


def is_free(key: str) -> bool:
    """Whether results do not depend on a field of the config, such as "read.ahead"."""
    return key in FREE_NAMES or key.split(".")[0] in FREE_FIELDS


class ClipFolder:
    """The results of one clip.

    `done.json` has an entry a stage. That of a finished one holds what it noted down,
    that of one that has only begun the fields that it reads. An entry with "forgotten"
    says that files of the stage are yet to be removed; "request" says which call asked
    for the stage by name.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path

    def entries(self) -> dict[str, dict[str, Any]]:
        """What done.json says.

        Raises:
          UsageError: it is damaged.
        """
        path = self.path / "done.json"
        if not path.exists():
            return {}
        hint = "remove this file, and the stages run again"
        try:
            found = arrays.read_json(path)
        except UsageError as err:
            raise UsageError(f"{err}; {hint}") from None
        if not isinstance(found, dict) or not all(map(_is_entry, found.values())):
            raise UsageError(f"{path}: damaged: expected an object of stages; {hint}")
        return found

    def _write(self, entries: Mapping[str, Any]) -> None:
        arrays.make_folder(self.path)
        arrays.write_json(self.path / "done.json", entries)

    def done(self, stage: str) -> dict[str, Any] | None:
        """What the finished stage noted down, or None if it has not finished."""
        entry = self.entries().get(stage, {})
        return entry if is_finished(entry) else None

    def begin(self, stage: str, read: Mapping[str, Any]) -> None:
        """Notes what a stage reads that begins: what it leaves is of that."""
        entries = self.entries()
        kept = {k: v for k, v in entries.get(stage, {}).items() if k == "request"}
        self._write({**entries, stage: {**kept, "read": dict(read)}})

    def mark(self, stage: str, seconds: float, **info: Any) -> None:
        """Notes that the stage has finished."""
        entries = self.entries()
        request = entries.get(stage, {}).get("request")
        asked = {} if request is None else {"request": request}
        self._write({**entries, stage: {"seconds": seconds, **info, **asked}})

    def forget(
        self, written: Mapping[str, Sequence[str]], requests: Mapping[str, str]
    ) -> None:
        """Removes what stages have left, so that they run again from nothing.

        A call that is killed has removed what it has, and the next call for these
        stages removes the rest.

        Args:
          written: By stage: the files and folders that it writes.
          requests: By stage that was asked for by name: which call that is.
        """
        kept = {k: v for k, v in self.entries().items() if k not in written}
        asked = {k: {"request": requests[k]} for k in written if k in requests}
        marks = {k: {**asked.get(k, {}), "forgotten": True} for k in written}
        self._write({**kept, **marks})
        for name in (name for names in written.values() for name in names):
            _remove(self.path / name)
        self._write({**kept, **asked})


def is_finished(entry: Mapping[str, Any]) -> bool:
    """Whether this entry of done.json is of a stage that has finished."""
    return "seconds" in entry


def _is_entry(value: Any) -> bool:
    rows = value.get("skipped", []) if isinstance(value, dict) else None
    return isinstance(rows, list) and all(
        isinstance(row, dict) and {"frame", "reason"} <= row.keys() for row in rows
    )


def _remove(path: pathlib.Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):  # Read-only disks refuse even what is not there.
            path.unlink(missing_ok=True)
    except OSError as err:
        raise UsageError(f"{path}: cannot be removed: {err.strerror}") from None


class RunFolder:
    """The folder of one run. Opening it checks that it belongs to the same config."""

    def __init__(
        self,
        path: pathlib.Path,
        config: Mapping[str, Any],
        *,
        later: Collection[str] = (),
        paths: Collection[str] = (),
        files: Mapping[str, str | None] | None = None,
    ):
        """Creates the folder or opens an earlier run of the same config.

        Args:
          path: Of the folder.
          config: The resolved config.
          later: Fields that only stages read which can run again: a run in which they
            differ is not another one.
          paths: Fields that are paths: however they are written, the same place is the
            same.
          files: By field: a digest of the file that it names, kept beside the config.

        Raises:
          UsageError: the folder holds a run of another config, or something else; or
            it cannot be made.
        """
        self.path = path
        fields = flatten(config)
        places = {name: _place(fields[name]) for name in paths if fields.get(name)}
        self._about = _plain({"config": config, "places": places, "files": files or {}})
        if _is_run(path) and _has_results(path):
            old = {**open_run(path)}
            _check_same(path, old, self._about, {*later})
        else:  # If nothing has come of an earlier run, it is this one's now.
            arrays.make_folder(path)
            self._write()

    def record(self) -> None:
        """Writes the config that stages run with from now on, if it is a new one."""
        old = open_run(self.path)
        if any(old.get(key) != value for key, value in self._about.items()):
            self._write()

    def _write(self) -> None:
        about = {**self._about, **describe_machine()}
        arrays.write_json(self.path / "config.json", about)

    def clip(self, name: str) -> ClipFolder:
        """The folder of the clip with this name."""
        return ClipFolder(self.path / "clips" / name)

    def log(self, event: str, **values: Any) -> None:
        """Appends one line to log.jsonl."""
        append_event(self.path / "log.jsonl", event, **values)

    def request(self, stages: Sequence[str], shard: tuple[int, int]) -> str:
        """Names a call for stages; the same call, after one that was stopped, goes on.

        Args:
          stages: That are to run again; none = no request.
          shard: Index and count.
        """
        file = self._request_file(shard)
        old = arrays.read_json(file) if file.exists() else None
        if isinstance(old, dict) and old.get("stages") == list(stages):
            return str(old.get("name"))
        name = f"{time.time_ns():x}"
        arrays.write_json(file, {"stages": list(stages), "name": name})
        return name

    def end_request(self, shard: tuple[int, int]) -> None:
        """The call is answered: the same one again is a new one."""
        _remove(self._request_file(shard))

    def _request_file(self, shard: tuple[int, int]) -> pathlib.Path:
        return self.path / f".request-{shard[0]}-of-{shard[1]}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Parallel shards enter one at a time, where the file system can lock."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)  # Until it is closed.
            yield
        finally:
            os.close(handle)


def _is_run(path: pathlib.Path) -> bool:
    """Whether this is a run folder; what is neither that nor empty is refused."""
    try:
        if (path / "config.json").exists():
            return True
        strange = path.exists() and (
            not path.is_dir() or any(map(_is_named, path.iterdir()))
        )
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror}") from None
    if strange:
        raise UsageError(f"{path}: exists and is no run folder; name a new one")
    return False


def _is_named(path: pathlib.Path) -> bool:
    """Not the first file of a run, which another shard writes right now."""
    return not path.name.startswith(".config.json.")


def _has_results(path: pathlib.Path) -> bool:
    return any(file.is_file() for file in (path / "clips").rglob("*"))


def _place(text: Any) -> str:
    return os.path.realpath(str(text))


def _plain(value: Any) -> Any:
    """The value as it comes back from JSON."""
    return json.loads(json.dumps(to_json(value)))


def append_event(path: pathlib.Path, event: str, **values: Any) -> None:
    """Appends one line; NaN becomes null, and lines of parallel shards do not mix."""
    row = {"time": round(time.time(), 3), "event": event, **values}
    line = json.dumps(to_json(row)) + "\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError as err:
        raise UsageError(f"{path}: cannot be written: {err.strerror}") from None


def open_run(path: pathlib.Path) -> dict[str, Any]:
    """Returns config.json of an existing run folder.

    Raises:
      UsageError: this is no run folder, or its config.json is damaged.
    """
    file = path / "config.json"
    if not file.is_file():
        raise UsageError(f"{path}: no run folder (it has no config.json)")
    found = arrays.read_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
        raise UsageError(
            f"{file}: damaged: expected an object with config; the run cannot be "
            "checked against it, so give another --workdir"
        )
    return found


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


def _check_same(
    path: pathlib.Path,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    later: Collection[str],
) -> None:
    there, here = flatten(old["config"]), flatten(new["config"])
    for key in sorted(there.keys() | here.keys()):
        if key in later or is_free(key):
            continue
        places = new["places"].get(key), old.get("places", {}).get(key)
        if not _is_same(there.get(key), here.get(key), *places):
            raise UsageError(
                f"{path}: a run of another config; it differs first in {key}: there "
                f"{there.get(key)!r}, here {here.get(key)!r}; give another --workdir"
            )


def _is_same(there: Any, here: Any, place: str | None, old_place: str | None) -> bool:
    """Whether a field is unchanged; a path is if it leads to the same place.

    A run folder that was moved together with its data, by paths relative to both, still
    is the same run: what it was made of is no longer where it was.
    """
    if place is None or old_place is None:
        return there == here
    return place == old_place or (there == here and not os.path.exists(old_place))
