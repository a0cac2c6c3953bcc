"""One process of a sweep: started, recorded, ended.

    DIR/logs/NAME.out, .err    what `launch.py` wrote
    DIR/logs/NAME.json         its words, exit code, seconds, last line: the record
    DIR/logs/NAME.lock         held while it runs, also by what a killed sweep has left

Whatever the backend (sweep_backends.py), `execute` starts a process on the machine
where it runs, and ends it.
"""

import contextlib
import fcntl
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sweep_settings import Job

from egojax.data import arrays
from egojax.data.values import flatten, is_number
from egojax.errors import UsageError

LAUNCHER = pathlib.Path(__file__).resolve().parents[1] / "launch.py"
FINISHED = (0, 3)  # Exit codes of runs that are not started again.
POLL = 0.1  # Seconds between looks at a process.
GRACE = 60.0  # Seconds that a run has to save itself.


class Record(NamedTuple):
    """How the last process of a job ended."""

    exit_code: int | None  # None: it left no word; below 0: a signal.
    seconds: float = 0.0
    last_line: str = ""


def log_file(logs: pathlib.Path, job: Job, suffix: str) -> pathlib.Path:
    """The log of a job: suffix is out, err, json or lock."""
    return logs / f"{job.name}.{suffix}"


def read_record(logs: pathlib.Path, job: Job) -> Record:
    """What is known of a job; another command's record says nothing of it."""
    try:
        found = arrays.read_json(log_file(logs, job, "json"))
        if found["words"] != list(job.words):
            return Record(None)
        return Record(found["exit_code"], found["seconds"], found["last_line"])
    except (UsageError, KeyError, TypeError):
        return Record(None)


def is_finished(logs: pathlib.Path, job: Job) -> bool:
    """Whether nothing is left to do; if in doubt the launcher's own marks tell."""
    try:
        read_numbers(job.folder)
    except UsageError:
        return False
    return read_record(logs, job).exit_code in FINISHED


def read_numbers(folder: pathlib.Path) -> dict[str, float | None]:
    """The single numbers of "all" in a run's metrics.json; null stays None.

    Raises:
      UsageError: missing, damaged.
    """
    path = folder / "metrics.json"
    found = arrays.read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("all"), dict):
        raise UsageError(f"{path}: damaged: expected an object with all")
    return {
        name: value
        for name, value in flatten(found["all"]).items()
        if value is None or is_number(value)
    }


def execute(
    job: Job,
    logs: pathlib.Path,
    cwd: pathlib.Path,
    environment: Mapping[str, str],
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Runs a job to its end and records it.

    If this is interrupted, or `should_stop`, the process gets SIGTERM, on which it
    leaves a run that can be continued, and nothing is recorded.
    """
    out, err = (log_file(logs, job, suffix) for suffix in ("out", "err"))
    command = [sys.executable, str(LAUNCHER), *job.words]
    with _claimed(log_file(logs, job, "lock"), should_stop) as lock:
        _check(should_stop)
        start = time.monotonic()
        log_file(logs, job, "json").unlink(missing_ok=True)
        with out.open("wb") as out_file, err.open("wb") as err_file:
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                pass_fds=(lock,),  # Held as long as the child lives, whatever we do.
                start_new_session=True,  # A Ctrl-C is passed on by us, once.
            )
            try:
                while child.poll() is None:
                    _check(should_stop)
                    time.sleep(POLL)
            finally:
                _end(child)
        told = out if child.returncode == 3 else err  # Where skipped frames are told.
        record = {
            "words": list(job.words),
            "exit_code": child.returncode,
            "seconds": round(time.monotonic() - start, 3),
            "last_line": last_line(told),
        }
        arrays.write_json(log_file(logs, job, "json"), record)


def last_line(path: pathlib.Path) -> str:
    """The last line of a log that says something."""
    text = path.read_bytes()[-4096:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _end(child: subprocess.Popen) -> None:
    """Ends a process that still runs, by its own id; gently at first."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise KeyboardInterrupt


@contextlib.contextmanager
def _claimed(path: pathlib.Path, should_stop: Callable[[], bool]) -> Iterator[int]:
    """Waits until no other process does the same job, where locks are to be had."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while not _try_lock(handle):
            _check(should_stop)
            time.sleep(POLL)
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system without locks.
        return True
    return True


def wait_until_ended(logs: pathlib.Path, jobs: Sequence[Job]) -> None:
    """Gives processes elsewhere that were told to end the time to do so."""
    deadline = time.monotonic() + GRACE
    for job in jobs:
        path = log_file(logs, job, "lock")
        late = lambda: time.monotonic() > deadline  # noqa: E731
        with contextlib.suppress(KeyboardInterrupt), _claimed(path, late):
            pass
