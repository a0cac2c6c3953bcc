"""Training on any number of devices, stopped at any moment, ends the same."""

import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
from typing import NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from egojax.errors import UsageError
from egojax.metrics import Mean
from egojax.task import Block
from egojax.train import loop
from egojax.train.log import Evaluation
from egojax.train.loop import FitConfig, fit
from egojax.train.mesh import make_mesh, put_block
from egojax.train.optim import OptimConfig, make_optimizer
from egojax.train.step import make_plan, make_train_step

CONFIG = FitConfig(steps=7, log_every=2, checkpoint_every=3)


class Net(nnx.Module):
    """Two layers with running statistics, so that `rest` is not empty."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)]
        )
        self.norm = nnx.BatchNorm(8, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.norm(self.layers[0](x))))[:, 0]


class Regression(NamedTuple):
    """Fits a plane, with noise on the inputs that comes from the step's key."""

    noise: float = 0.1

    def init(self, key):
        return Net(rngs=nnx.Rngs(key))

    def loss(self, model, batch, key):
        x, y = batch
        x = x + self.noise * jax.random.normal(key, x.shape)
        error = (model(x) - y) ** 2
        return error.mean(), {"error": Mean.of(error)}


def batch_of(step: int):
    rng = np.random.default_rng([step, 7])
    x = rng.normal(size=(8, 3)).astype(np.float32)
    return x, x @ np.float32([1.0, -2.0, 0.5])


def by_step(make):
    """Batches from a function of the step."""
    return lambda first: map(make, itertools.count(first))


def train(folder, *, devices=4, config=CONFIG, tx=None, batches=None, task=None, **kw):
    return fit(
        Regression() if task is None else task,
        by_step(batch_of) if batches is None else batches,
        optax.adam(0.05) if tx is None else tx,
        make_mesh(devices),
        config,
        folder,
        **kw,
    )


def weights(model) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(model))]


def assert_same(a, b, **tolerance):
    for x, y in zip(weights(a), weights(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def numbers(folder, event="train") -> list[dict]:
    """The log of training without the clock."""
    clock = ("time", "steps_per_second")
    rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    rows = [row for row in rows if row["event"] == event]
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that never stopped, and its folder."""
    folder = tmp_path_factory.mktemp("straight")
    return train(folder), folder


def test_the_first_steps_equal_plain_gradient_descent(tmp_path):
    """The definition, written out without mesh, jit or loop."""
    task, config = Regression(noise=0.0), FitConfig(steps=3)
    got = train(tmp_path, task=task, config=config, tx=optax.sgd(0.1))
    init_key, _ = jax.random.split(jax.random.key(0))
    graphdef, params, rest = nnx.split(task.init(init_key), nnx.Param, ...)
    for step in range(3):

        def objective(params, rest=rest, step=step):
            model = nnx.merge(graphdef, params, rest, copy=True)
            value = task.loss(model, batch_of(step), jax.random.key(0))[0]
            return value, nnx.split(model, nnx.Param, ...)[2]

        grads, rest = jax.grad(objective, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    assert_same(got, nnx.merge(graphdef, params, rest), rtol=1e-5, atol=1e-6)


def test_one_device_equals_four(tmp_path):
    one = train(tmp_path / "1", devices=1, tx=optax.sgd(0.05))
    four = train(tmp_path / "4", devices=4, tx=optax.sgd(0.05))
    assert_same(one, four, rtol=1e-5, atol=1e-6)
    for a, b in zip(numbers(tmp_path / "1"), numbers(tmp_path / "4"), strict=True):
        assert a.pop("event") == b.pop("event") == "train"
        assert a == pytest.approx(b, rel=1e-5)


# A run that was asked to stop does so after its last step, too.
@pytest.mark.parametrize("stop_at", [1, 2, 4, 6, CONFIG.steps])
def test_stopped_and_resumed_equals_never_stopped(tmp_path, straight, stop_at):
    def interrupt(done, total):
        if done == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(loop.Interrupted, match=f"step {stop_at}"):
        train(tmp_path, progress=interrupt)
    assert_same(train(tmp_path), straight[0], rtol=0, atol=0)
    assert numbers(tmp_path) == numbers(straight[1])


def test_a_running_mean_is_what_is_trained_also_when_resumed(tmp_path):
    """It is evaluated and handed on; the weights take the steps that they took."""
    plain = OptimConfig("sgd", 0.05)
    mean = dataclasses.replace(plain, mean_share=0.9, mean_after=2, mean_every=1)
    seen: list[list[np.ndarray]] = []

    def params(model) -> list[np.ndarray]:
        return [np.asarray(x) for x in jax.tree.leaves(nnx.state(model, nnx.Param))]

    def evaluate(model) -> Evaluation:
        seen.append(params(model))
        return Evaluation({}, {})

    def interrupt(done, total):
        if done == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    config = dataclasses.replace(CONFIG, evaluate_every=4)
    more = dict(tx=make_optimizer(mean), config=config, evaluate=evaluate)
    with pytest.raises(loop.Interrupted):
        train(tmp_path / "mean", progress=interrupt, **more)
    found = params(train(tmp_path / "mean", **more))
    tx = make_optimizer(plain)
    after = [  # Runs of 4 to 7 steps.
        params(train(tmp_path / str(n), tx=tx, config=FitConfig(steps=n)))
        for n in range(4, 8)
    ]
    # By hand: calls 0 to 3 copy.
    expected = after[0]
    for call, new in zip((4, 5, 6), after[1:], strict=True):
        kept = min(1 - (1 + call - 2) ** (-2 / 3), 0.9)
        pairs = zip(expected, new, strict=True)
        expected = [kept * a + (1 - kept) * b for a, b in pairs]
    for a, b, last in zip(found, expected, seen[-1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(a, last)
    assert (
        max(np.abs(a - b).max() for a, b in zip(found, after[-1], strict=True)) > 1e-3
    )


def test_it_is_told_early_and_then_now_and_again_how_good_the_model_is(tmp_path):
    """By hand: after step 1, at multiples of 3, and at the end; also if resumed."""
    picture = np.full((2, 3, 3), 7, np.uint8)

    def evaluate(model) -> Evaluation:
        total = sum(float(np.sum(leaf)) for leaf in weights(model))
        return Evaluation({"total": total}, {"seen": picture})

    def stop_at_four(done, total):
        if done == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    config = dataclasses.replace(CONFIG, evaluate_every=3)
    model = train(tmp_path / "a", config=config, evaluate=evaluate)
    rows = numbers(tmp_path / "a", "evaluate")
    assert [row["step"] for row in rows] == [1, 3, 6, 7]
    assert rows[-1]["total"] == evaluate(model).values["total"]
    (events,) = (tmp_path / "a" / "tensorboard").iterdir()
    assert events.read_bytes().count(b"seen") == 4
    with pytest.raises(loop.Interrupted):
        train(tmp_path / "b", config=config, evaluate=evaluate, progress=stop_at_four)
    train(tmp_path / "b", config=config, evaluate=evaluate)
    assert numbers(tmp_path / "b", "evaluate") == rows


def test_an_evaluation_that_fails_does_so_before_the_second_step(tmp_path):
    def evaluate(model):
        raise ValueError("no such frame")

    steps = []
    with pytest.raises(ValueError, match="no such frame"):
        train(
            tmp_path,
            config=dataclasses.replace(CONFIG, evaluate_every=5),
            evaluate=evaluate,
            progress=lambda done, total: steps.append(done),
        )
    assert steps == [1]


def test_a_checkpoint_of_four_devices_goes_on_with_one(tmp_path):
    def interrupt(done, total):
        if done == 4:
            os.kill(os.getpid(), signal.SIGINT)

    tx = optax.sgd(0.05, momentum=0.9)
    with pytest.raises(loop.Interrupted):
        train(tmp_path / "a", progress=interrupt, tx=tx)
    moved = train(tmp_path / "a", devices=1, tx=tx)
    assert_same(moved, train(tmp_path / "b", devices=4, tx=tx), rtol=1e-5, atol=1e-6)


def test_a_finished_run_does_nothing_again(straight):
    model, folder = straight

    def never(first):
        raise AssertionError("no batch is needed")
        yield

    before = numbers(folder)
    assert_same(train(folder, batches=never), model, rtol=0, atol=0)
    assert numbers(folder) == before


@pytest.fixture
def interrupts():
    """The usual handler, also where the tests run with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_acts_as_usual(interrupts):
    with pytest.raises(KeyboardInterrupt), loop.stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)


def test_signals_keep_their_handlers_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with loop.stop_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_training_runs_outside_the_main_thread(tmp_path):
    out = []
    config = FitConfig(steps=1)
    run = threading.Thread(target=lambda: out.append(train(tmp_path, config=config)))
    run.start()
    run.join()
    assert len(out) == 1


def test_the_log_holds_means_over_the_steps_between(straight):
    rows = numbers(straight[1])
    assert [row["step"] for row in rows] == [2, 4, 6, 7]
    assert all(row["loss"] == pytest.approx(row["error"]) for row in rows)
    assert list((straight[1] / "tensorboard").iterdir())


def test_a_non_finite_term_is_named_with_its_step(tmp_path):
    class Diverging(Regression):
        def loss(self, model, batch, key):
            value, logs = Regression.loss(self, model, batch, key)
            return value, {**logs, "log_term": Mean.of(jnp.log(batch[0][0, 0]))}

    def bad_at_five(step):
        x, y = batch_of(step)
        x[0, 0] = -1.0 if step == 4 else 1.0
        return x, y

    with pytest.raises(
        loop.NonFiniteError, match=r"step 5: log_term is not finite; try"
    ):
        train(tmp_path, task=Diverging(), batches=by_step(bad_at_five))
    checkpoints = [p.name for p in (tmp_path / "checkpoints").iterdir()]
    assert checkpoints == ["3"], "no checkpoint may hold what came of it"


def test_a_non_finite_gradient_is_named(tmp_path):
    class Kinked(Regression):
        def loss(self, model, batch, key):
            value, logs = Regression.loss(self, model, batch, key)
            return value + jnp.sqrt(0.0 * jnp.abs(model.norm.bias[...]).sum()), logs

    with pytest.raises(loop.NonFiniteError, match=r"step 1: .*\(and \d+ more\)"):
        train(tmp_path, task=Kinked())


def test_weights_may_be_split_over_devices_by_a_rule(tmp_path):
    rules = [("layers/0/kernel", P(None, "data"))]
    tx = optax.sgd(0.05, momentum=0.9)
    plan = make_plan(Regression().init, tx, make_mesh(4), rules)
    kernel = plan.shardings.params["layers"][0]["kernel"]
    trace = plan.shardings.opt_state[0].trace["layers"][0]["kernel"]
    assert kernel.spec == trace.spec == P(None, "data")
    got = train(tmp_path / "split", rules=rules, tx=tx)
    assert_same(got, train(tmp_path / "whole", tx=tx), rtol=1e-5, atol=1e-6)


def test_what_a_rule_cannot_split_is_whole_or_told_in_one_line():
    """The number of steps has no axis; 8 and 3 rows are not shared by 4 and 5."""
    tx, mesh = optax.sgd(0.05, momentum=0.9), make_mesh(4)
    plan = make_plan(Regression().init, tx, mesh, [("kernel$|step", P(None, None))])
    assert plan.shardings.step.spec == P()
    with pytest.raises(UsageError) as told:
        make_plan(Regression().init, tx, mesh, [("kernel$|step", P("data"))])
    (line,) = str(told.value).splitlines()
    assert "4 devices cannot share params/layers/0/kernel of shape (3, 8)" in line
    with pytest.raises(UsageError, match="'step' matches no weight"):
        make_plan(Regression().init, tx, mesh, [("step", P("data"))])


class Bare(nnx.Module):
    """A weight, and a table that has no columns."""

    def __init__(self):
        self.scale, self.codes = nnx.Param(jnp.ones(2)), nnx.Param(jnp.ones((5, 0)))


class Emptied(Regression):
    """A model of which some array has no elements."""

    def init(self, key):
        return Bare()

    def loss(self, model, batch, key):
        value = (model.scale[...] ** 2).sum() + model.codes[...].sum()
        return value, {"value": Mean.of(value)}


def test_arrays_without_elements_are_saved_and_restored(tmp_path):
    whole = train(tmp_path / "whole", task=Emptied())
    first = dataclasses.replace(CONFIG, steps=3)
    train(tmp_path / "parts", task=Emptied(), config=first)
    parts = train(tmp_path / "parts", task=Emptied())
    assert parts.codes[...].shape == (5, 0)
    assert_same(parts, whole)


# Not of data files: orbax then leaves reads behind, which fail after the test.
@pytest.mark.parametrize("lost", ["meta", "state/_METADATA"])
def test_a_damaged_checkpoint_is_one_line_that_names_it(lost, tmp_path):
    train(tmp_path)
    newest = tmp_path / "checkpoints" / "7"
    path = newest / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UsageError) as told:
        train(tmp_path)
    (line,) = str(told.value).splitlines()
    assert line.startswith(f"{newest}: a damaged checkpoint") and "remove this" in line
    shutil.rmtree(newest)
    train(tmp_path)
    assert numbers(tmp_path)[-1]["step"] == 7


def blocks_of(size: int, count: int = 100):
    """The same batches, several at once, and something that they share."""

    def blocks(first):
        for at in range(first, count, size):
            picked = [batch_of(step) for step in range(at, min(at + size, count))]
            yield Block(jax.tree.map(lambda *x: np.stack(x), *picked), np.float32(2))

    return blocks


class Sharing(Regression):
    """Its loss sees what the batches share."""

    def loss(self, model, batch, key):
        batch, shared = batch
        loss, logs = Regression.loss(self, model, batch, key)
        return loss, {**logs, "shared": shared}


@pytest.mark.parametrize("size", [2, 3, 7, 50])
def test_steps_in_blocks_are_the_steps_one_by_one(tmp_path, straight, size):
    got = train(tmp_path, task=Sharing(), batches=blocks_of(size))
    assert_same(got, straight[0], rtol=1e-5, atol=1e-6)
    rows = numbers(tmp_path)
    assert rows[-1]["step"] == 7 and all(row["shared"] == 2 for row in rows)


@pytest.mark.parametrize("stop_at", [2, 4])
def test_blocks_stopped_and_resumed_are_blocks_never_stopped(tmp_path, stop_at):
    whole = train(tmp_path / "whole", task=Sharing(), batches=blocks_of(2))

    def interrupt(done, total):
        if done == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = dict(task=Sharing(), batches=blocks_of(2))
    with pytest.raises(loop.Interrupted, match=f"step {stop_at}"):
        train(tmp_path / "cut", progress=interrupt, **stopped)
    assert_same(train(tmp_path / "cut", **stopped), whole, rtol=0, atol=0)
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


def test_a_step_within_a_block_that_is_not_finite_is_named(tmp_path):
    def blocks(first):
        for block in blocks_of(4)(first):
            block.batches[1][2] = np.nan
            yield block

    with pytest.raises(loop.NonFiniteError, match=r"step 3: .* is not finite"):
        train(tmp_path, task=Sharing(), batches=blocks)


def test_the_step_lowers_for_every_platform():
    task, tx, mesh = Regression(), optax.adam(0.1), make_mesh(4)
    plan = make_plan(task.init, tx, mesh)
    step = make_train_step(task.loss, plan, tx, mesh)
    block = put_block(next(blocks_of(2)(0))._replace(shared=None), mesh)
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(step, platforms=platforms)(
        plan.like, block, jax.random.key(0)
    )
    assert exported.platforms == platforms and exported.nr_devices == 4


def test_the_step_compiles_once(tmp_path):
    traces = []

    class Counting(Regression):
        def loss(self, model, batch, key):
            traces.append(1)
            return Regression.loss(self, model, batch, key)

    train(tmp_path, task=Counting())
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(tx=optax.sgd(0.1)), "opt_state.* is not there in this run|not there"),
        (dict(config=FitConfig(steps=7, seed=1)), "seed 0, this run has 1"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(straight, change, message):
    with pytest.raises(UsageError, match=message):
        train(straight[1], **change)


def test_batches_that_end_too_early_are_told(tmp_path):
    def few(first):
        return map(batch_of, range(first, 2))

    with pytest.raises(UsageError, match="ended at step 2 of 7"):
        train(tmp_path, batches=few)


def test_a_task_without_a_loss_is_refused(tmp_path):
    class Nothing(NamedTuple):
        init: None = None
        loss: None = None

    with pytest.raises(UsageError, match="learns nothing"):
        train(tmp_path, task=Nothing())


CHILD = """
import os, pathlib, signal, sys
sys.path.insert(0, {here!r})
import test_loop as t

def progress(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), int(sys.argv[2]))

t.train(pathlib.Path(sys.argv[1]), progress=progress)
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_goes_on_where_it_was(tmp_path, straight, kind):
    here = str(pathlib.Path(__file__).parent)
    words = [sys.executable, "-c", CHILD.format(here=here), str(tmp_path)]
    out = subprocess.run(
        [*words, str(int(kind)), "5"], capture_output=True, text=True, timeout=120
    )
    if kind == signal.SIGKILL:
        assert out.returncode == -signal.SIGKILL
    else:
        assert "Interrupted: stopped after step 5" in out.stderr
    assert_same(train(tmp_path), straight[0], rtol=0, atol=0)
    assert numbers(tmp_path) == numbers(straight[1])
