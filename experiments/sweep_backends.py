"""Who runs the processes of a sweep: a pool on this machine, Slurm, or Ray.

Scheduling is theirs; what they run is `sweep_jobs.execute`. Each takes the jobs that
are left and calls `ended` after each; interrupted, it ends what it has started.
"""

import concurrent.futures
import contextlib
import importlib
import os
import pathlib
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from sweep_jobs import POLL, execute, wait_until_ended
from sweep_settings import Job

from egojax.data import arrays
from egojax.errors import UsageError

HERE = pathlib.Path(__file__).resolve().parent
THREADS = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # NPROC: XLA's own.
DAY = 24 * 60  # Minutes: what a job may take unless --slurm.timeout_min says else.

Ended = Callable[[Job], None]


def environment_of(device: str, share: int) -> dict[str, str]:
    """What a process on a device is told: a GPU's number, "cpu", or "" for any.

    Args:
      share: CPU threads of each process that computes on the CPU.
    """
    if device.isdigit():
        return {"CUDA_VISIBLE_DEVICES": device}
    threads = {name: os.environ.get(name, str(share)) for name in THREADS}
    return threads | ({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {})


def run_locally(
    jobs: Sequence[Job],
    logs: pathlib.Path,
    devices: Sequence[str],
    ended: Ended,
) -> None:
    """A pool of local processes, one a device.

    Args:
      devices: One a worker, see `environment_of`.
      ended: Called after each job.
    """
    free: queue.SimpleQueue[str] = queue.SimpleQueue()
    for device in devices:
        free.put(device)
    stop = threading.Event()
    share = max(1, (os.cpu_count() or 1) // len(devices))

    def work(job: Job) -> None:
        device = free.get()
        try:
            told = environment_of(device, share)
            execute(job, logs, pathlib.Path.cwd(), told, stop.is_set)
        finally:
            free.put(device)

    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        futures = {pool.submit(work, job): job for job in jobs}
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
                ended(futures[future])
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


class Attempt:
    """`execute` as submitit wants it: preempted or timed out, it is queued again."""

    def __init__(self, logs: pathlib.Path, cwd: pathlib.Path):
        self._logs, self._cwd = logs, cwd

    def __call__(self, job: Job) -> None:
        execute(job, self._logs, self._cwd, {})

    def checkpoint(self, job: Job) -> Any:
        """Called by submitit before its time is up."""
        return _extra("submitit", "sweep").helpers.DelayedSubmission(self, job)


def run_on_slurm(
    jobs: Sequence[Job],
    logs: pathlib.Path,
    workers: int | None,
    options: Mapping[str, Any],
    ended: Ended,
) -> None:
    """A job array of Slurm, by submitit.

    Args:
      workers: How many run at a time; None = as many as Slurm gives, or all.
      options: Of submitit's AutoExecutor ("timeout_min", "gpus_per_node", ...) or of
        its SlurmExecutor ("partition", "account", ...). "cluster" = "local": submitit's
        local executor.

    Raises:
      UsageError: no submitit, no Slurm, an option that submitit does not know.
    """
    submitit = _extra("submitit", "sweep")
    cluster = options.get("cluster", "slurm")
    if cluster == "slurm" and not shutil.which("sbatch"):
        raise UsageError(
            "--backend=slurm: no sbatch on this machine; --slurm.cluster=local runs "
            "submitit without Slurm"
        )
    _share_code()
    if cluster == "local":  # It cancels by SIGINT; a background job may ignore that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        executor = submitit.AutoExecutor(logs / "submitit", cluster=cluster)
        executor.update_parameters(**_submitit_parameters(executor, workers, options))
    except (NameError, TypeError, ValueError) as err:
        raise UsageError(f"--slurm: {arrays.first_line(err)}") from err
    attempt = Attempt(logs.absolute(), pathlib.Path.cwd())
    # The local executor starts all that it is given: it gets one as one ends.
    most = workers if workers and cluster == "local" else len(jobs)
    left, waiting = list(jobs), {}
    try:
        while left or waiting:
            for handle in [handle for handle in waiting if handle.done()]:
                ended(waiting.pop(handle))
            if given := left[: most - len(waiting)]:
                left = left[len(given) :]
                with _errors_in(logs / "submitit.err"):
                    handles = executor.map_array(attempt, given)
                waiting |= zip(handles, given, strict=True)
            time.sleep(POLL)
    finally:
        for handle in waiting:
            handle.cancel(check=False)
        wait_until_ended(logs, list(waiting.values()))


@contextlib.contextmanager
def _errors_in(path: pathlib.Path) -> Iterator[None]:
    """Processes that start here write their errors to a file.

    What watches over a job of the local executor dies of Ctrl-C with a traceback.
    """
    kept = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _submitit_parameters(
    executor: Any, workers: int | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options with the prefixes that submitit wants."""
    shared = type(executor)._typed_parameters()
    found = {"timeout_min": DAY, "slurm_job_name": "sweep"}
    if workers is not None:
        found["slurm_array_parallelism"] = workers
    named = {key: value for key, value in options.items() if key != "cluster"}
    return found | {k if k in shared else f"slurm_{k}": v for k, v in named.items()}


def run_on_ray(
    jobs: Sequence[Job],
    logs: pathlib.Path,
    workers: int | None,
    options: Mapping[str, Any],
    ended: Ended,
) -> None:
    """Tasks of Ray, on a cluster of this machine alone or the one at "address".

    Args:
      workers: CPUs of a local cluster, and so how many run at a time.
      options: Of `ray.remote` ("num_cpus", "num_gpus", ...), and "address".

    Raises:
      UsageError: no Ray, no cluster there, an option that it does not know.
    """
    ray = _extra("ray", "ray")
    named = {key: value for key, value in options.items() if key != "address"}
    _share_code()
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    there = {"address": options["address"]} if "address" in options else {}
    here = {} if there else {"num_cpus": workers, "include_dashboard": False}
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        task = ray.remote(**{"num_cpus": 1, "max_retries": 0, **named})(execute)
        ray.init(runtime_env={"env_vars": path}, **quiet, **there, **here)
    except (ConnectionError, TypeError, ValueError) as err:
        raise UsageError(f"--ray: {arrays.first_line(err)}") from err
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray sets its own.
    cwd = pathlib.Path.cwd()
    stop = logs.absolute() / "stop"  # Ray does not interrupt a task that waits.
    stop.unlink(missing_ok=True)
    given = logs.absolute(), cwd, {}, stop.exists
    waiting = {task.remote(job, *given): job for job in jobs}
    try:
        while waiting:
            done, _ = ray.wait(list(waiting))
            for handle in done:
                ended(waiting.pop(handle))
    finally:
        if waiting:
            stop.touch()
        for handle in waiting:
            ray.cancel(handle)
        wait_until_ended(logs, list(waiting.values()))
        ray.shutdown()


def _extra(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(
            f"{name} is not installed; pip install 'egojax[{extra}]'"
        ) from None


def _share_code() -> None:
    """Lets Python elsewhere find this module and the package of this checkout."""
    old = os.environ.get("PYTHONPATH")
    paths = [str(HERE), str(HERE.parent), *([old] if old else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
