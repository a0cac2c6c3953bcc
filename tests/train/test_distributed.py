"""Two real processes of two devices each train as one process does.

They are started once, run a few small trainings together, and leave what came of each
in a folder; the tests read it. The same file is what they run.
"""

import functools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from egojax.errors import UsageError
from egojax.methods import field_batches, field_learning
from egojax.methods.field_scene import FieldScene
from egojax.methods.grid_rendering import GridSettings
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.ops.hash_grid import HashGrid
from egojax.task import Block
from egojax.train import distributed
from egojax.train.loop import FitConfig, fit
from egojax.train.mesh import make_mesh
from egojax.types import Camera
from tests.train import test_loop
from tests.train.test_loop import assert_same, batch_of, by_step, numbers, weights
from tests.train.test_roll_call import free_port

TWO_DEVICES = " --xla_force_host_platform_device_count=2"  # The last such flag counts.
LIMIT = 300  # Seconds that the two processes have; they need some 20.
TABLE = HashGrid(2, 4, 16, 8)
GRID = GridConfig(
    static=TABLE,
    moving=TABLE,
    proposal=TABLE,
    width=8,
    num_slots=8,
    time_basis=3,
)


def train_plane(folder, *, devices=-1, **more):
    return test_loop.train(folder, devices=devices, tx=optax.sgd(0.05), **more)


def tiny_scene() -> FieldScene:
    """Six frames of noise, from a camera that walks to the right."""
    rng, count = np.random.default_rng(3), 6
    w2c = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    w2c[:, 0, 3] = -0.1 * np.arange(count)
    lens = np.float32([[16, 0, 8], [0, 16, 6], [0, 0, 1]])
    return FieldScene(
        images=rng.integers(0, 256, (count, 12, 16, 3), np.uint8),
        camera=Camera(np.tile(lens, (count, 1, 1)), w2c, size_hw=(12, 16)),
        near=np.full(count, 0.2, np.float32),
        far=np.full(count, 4.0, np.float32),
        slots=np.arange(count, dtype=np.int32),
        looks=np.arange(count, dtype=np.int32),
    )


class Field:
    """The fast fields on the tiny scene, its images on the devices or on the host."""

    def __init__(self, on_host: bool = False):
        self.scene, self.layers = tiny_scene(), {}
        if on_host:
            self.layers = field_batches.pixel_layers(self.scene)
            self.scene = field_batches.without_pixels(self.scene)
        box = field_learning.scene_box(self.scene)
        self.loss = field_learning.grid_loss(GridSettings(6, 4), box)

    def init(self, key):
        return GridFields(GRID, rngs=nnx.Rngs(key))

    def batches(self, first):
        rays = field_batches.ray_batches(
            np.arange(6), 12 * 16, 16, 0, first, layers=self.layers
        )
        while True:
            yield Block(field_batches.next_steps(rays, 2), self.scene)


def train_field(folder, *, devices=-1, steps=4, on_host=False):
    task = Field(on_host)
    config = FitConfig(steps=steps, log_every=2)
    tx, mesh = optax.sgd(0.5), make_mesh(devices)
    return fit(task, task.batches, tx, mesh, config, folder)


def with_a_nan(step):
    x, y = batch_of(step)
    return x, np.full_like(y, np.nan) if step == 4 else y


def stop_second(done, total):
    """A signal to the second process alone."""
    if done == 3 and jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGTERM)


def stop_late(done, total):
    """The same after the last step."""
    if done == total and jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGTERM)


def alone(folder):
    return folder / str(jax.process_index())


SPLIT = [("layers/0/kernel", P(None, "data"))]
TRAININGS = {
    "plane": train_plane,
    "field": functools.partial(train_field, on_host=True),
    "stopped": functools.partial(train_plane, progress=stop_second),
    "split": functools.partial(train_plane, progress=stop_second, rules=SPLIT),
    "late": functools.partial(train_plane, progress=stop_late),
    "broken": functools.partial(train_plane, batches=by_step(with_a_nan)),
    "unshared": lambda folder: train_plane(alone(folder)),
    "uneven": functools.partial(train_plane, devices=3),
    "half": functools.partial(train_plane, devices=2),
}


def take_part(folder: pathlib.Path, words: list[str]) -> None:
    """What each of the processes does."""
    models = {}
    with distributed.joined(*words[:1], *map(int, words[1:]), timeout=LIMIT):
        for name, train in TRAININGS.items():
            out = folder / f"{name}-{jax.process_index()}.npz"
            try:
                models[name] = train(folder / name)
                np.savez(out, *weights(models[name]), told="")
            except (Exception, KeyboardInterrupt) as err:
                np.savez(out, told=f"{type(err).__name__}: {err}")
        assert (jax.process_count(), jax.device_count()) == (2, 4)
    np.save(folder / f"alone-{jax.process_index()}.npy", seen(models["plane"]))


def seen(model) -> np.ndarray:
    """What a plane says of a batch that was not learned."""
    return np.asarray(model(batch_of(99)[0]))


def started(code: str, words: list[str], **variables: str) -> subprocess.Popen:
    """A process of two devices."""
    strict = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + TWO_DEVICES,
        "JAX_NUMPY_RANK_PROMOTION": "raise",
    }
    here = str(pathlib.Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {here!r})\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=os.environ | strict | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(processes: list[subprocess.Popen]) -> list[str]:
    """What they said; all are ended where one takes too long."""
    end = time.monotonic() + LIMIT
    try:
        return [
            process.communicate(timeout=max(end - time.monotonic(), 0.1))[0]
            for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait()


TAKEN = ("choose another", "Address already in use")


def on_a_free_port(start, code: int = 0) -> list[str]:
    """Starts processes; with another port if someone was faster to take it."""
    said = []
    for _ in range(3):
        processes = start(free_port())
        said = finished(processes)
        if all(process.returncode == code for process in processes):
            return said
        if not any(words in text for text in said for words in TAKEN):
            break
    pytest.fail("\n---\n".join(said))


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> pathlib.Path:
    """Where two processes left what came of their trainings."""
    folder = tmp_path_factory.mktemp("together")
    code = (
        "import pathlib; from tests.train import test_distributed as t\n"
        "t.take_part(pathlib.Path(sys.argv[1]), sys.argv[2:])"
    )

    def start(port):
        address = f"localhost:{port}"
        by_environment = {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": "0",
        }
        return [
            started(code, [str(folder), "auto"], **by_environment),
            started(code, [str(folder), address, "2", "1"]),
        ]

    on_a_free_port(start)
    return folder


def outcome(folder: pathlib.Path, name: str, index: int) -> tuple[list, str]:
    with np.load(folder / f"{name}-{index}.npz") as found:
        return [found[key] for key in found if key != "told"], str(found["told"])


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize(
    ("name", "train"), [("plane", train_plane), ("field", train_field)]
)
def test_two_processes_end_as_one(together, tmp_path, name, train, devices):
    model = train(tmp_path, devices=devices)
    for index in (0, 1):
        found, told = outcome(together, name, index)
        assert not told
        for x, y in zip(found, weights(model), strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-5)
    rows = zip(numbers(together / name), numbers(tmp_path), strict=True)
    for two, one in rows:
        assert two.pop("event") == one.pop("event") == "train"
        assert two == pytest.approx(one, rel=1e-4)


def test_each_process_uses_the_model_alone_afterwards(together, tmp_path):
    expected = seen(train_plane(tmp_path))
    for index in (0, 1):
        found = np.load(together / f"alone-{index}.npy")
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_the_field_moved_far_more_than_it_may_differ(together):
    fresh = Field().init(jax.random.split(jax.random.key(0))[0])
    moved = [
        np.abs(x - y).max()
        for x, y in zip(outcome(together, "field", 0)[0], weights(fresh), strict=True)
    ]
    assert np.median(moved) > 1e-3


@pytest.mark.parametrize("name", ["stopped", "split"])
def test_a_signal_to_one_stops_both_at_the_same_step(together, name):
    told = {outcome(together, name, index)[1] for index in (0, 1)}
    assert told == {"Interrupted: stopped after step 4"}
    saved = {path.name for path in (together / name / "checkpoints").iterdir()}
    assert saved == {"3", "4"}


def test_a_signal_to_one_after_the_last_step_stops_both(together):
    """None goes on alone with what takes all of them."""
    told = {outcome(together, "late", index)[1] for index in (0, 1)}
    assert told == {"Interrupted: stopped after step 7"}


@pytest.mark.parametrize(("name", "devices"), [("stopped", 1), ("split", 4)])
def test_one_process_goes_on_where_two_were_stopped(together, tmp_path, name, devices):
    """Also where each process had but a part of some weights."""
    folder = tmp_path / name
    shutil.copytree(together / name, folder)
    resumed = train_plane(folder, devices=devices)
    straight = train_plane(tmp_path / "straight", devices=devices)
    assert_same(resumed, straight, rtol=0, atol=1e-5)
    steps = [row["step"] for row in numbers(folder)]
    assert steps == [row["step"] for row in numbers(tmp_path / "straight")]


def test_a_number_that_is_not_finite_is_named_by_both(together):
    for index in (0, 1):
        told = outcome(together, "broken", index)[1]
        assert told.startswith("NonFiniteError: step 5: error is not finite")
    assert [p.name for p in (together / "broken/checkpoints").iterdir()] == ["3"]


def test_a_folder_that_is_not_shared_is_refused_by_both(together):
    for index in (0, 1):
        told = outcome(together, "unshared", index)[1]
        assert told.startswith("UsageError") and "not seen by process 1" in told


def test_devices_that_processes_cannot_share_out_are_refused(together):
    assert "UsageError: mesh.data = 3: 2 processes" in outcome(together, "uneven", 1)[1]


def test_a_part_of_the_devices_is_taken_from_each_process(together, tmp_path):
    model = train_plane(tmp_path, devices=2)
    for index in (0, 1):
        for x, y in zip(
            outcome(together, "half", index)[0], weights(model), strict=True
        ):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-5)


def test_slurm_is_found_and_an_exit_code_is_kept():
    """The variables that srun sets for two tasks on this machine."""
    code = """
import jax
from egojax.train import distributed
with distributed.joined("auto"):
    print(jax.process_count(), jax.process_index(), jax.device_count())
    sys.exit(130)
"""

    def start(port):
        shared = {
            "JAX_COORDINATOR_PORT": str(port),
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": "2",
        }
        own = [dict(SLURM_PROCID=str(k), SLURM_LOCALID=str(k)) for k in (0, 1)]
        return [started(code, [], **shared, **variables) for variables in own]

    said = on_a_free_port(start, code=130)
    assert [text.splitlines()[-1] for text in said] == ["2 0 4", "2 1 4"]


def test_no_cluster_is_told():
    code = """
from egojax.errors import UsageError
from egojax.train import distributed
try:
    with distributed.joined("auto"):
        pass
except UsageError as err:
    print(err)
"""
    said = finished([started(code, [])])[0]
    assert "hosts.coordinator = auto: found neither JAX_COORDINATOR_ADDRESS" in said


def test_a_single_process_joins_nothing():
    with distributed.joined(), distributed.joined("node7:9876", 1, 0):
        assert not jax.distributed.is_initialized()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("here:1", 2, 2), r"hosts.index = 2: must be from 0 to 1"),
        (("here:1", 2, -1), r"hosts.index = -1: must be from 0 to 1"),
        (("here:1", 1, 1), r"hosts.index = 1: must be from 0 to 0"),
        (("here:1", 0, 0), r"hosts.count = 0: must be at least 1"),
        (("", 2, 0), r"hosts.coordinator = '': expected HOST:PORT"),
        (("here", 2, 0), r"expected HOST:PORT of the first process"),
        (("here:99999", 2, 0), r"expected HOST:PORT of the first process"),
    ],
)
def test_settings_of_no_run_are_refused(words, message):
    with pytest.raises(UsageError, match=message), distributed.joined(*words):
        pass


def test_variables_that_are_no_numbers_are_refused(monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.setenv(name, "x:1")
    refused = pytest.raises(UsageError, match="expected integers")
    with refused, distributed.joined("auto"):
        pass


def test_one_process_votes_for_itself():
    vote = distributed.StopVote(make_mesh(4))
    assert [vote(False), vote(True), vote(False)] == [False, True, False]
