"""The contract between a job and the launcher and training loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import optax
from flax import nnx

from egojax.data.runs import ClipFolder
from egojax.types import Clip, SkippedFrame

Batch = Any  # A pytree of arrays, whatever the task's loss takes.


class Block(NamedTuple):
    """What several steps in a row see, so that one dispatch can take them all.

    The loss of a step sees its batch, or (its batch, `shared`) where there is such.
    """

    batches: Any  # Arrays (K, B, ...): for each of K steps, a batch of B.
    shared: Any = None  # Arrays that all steps see whole, such as images.


class Progress(Protocol):
    """Told how far a stage has come: `progress(done, total)`."""

    def __call__(self, done: int, total: int) -> None: ...


class Stage(NamedTuple):
    """One step of a job on one clip: reads the clip and the folder, writes the folder.

    A stage may be stopped at any moment and run again; what it finds of itself it may
    keep. It returns the frames that it had to leave out.
    """

    name: str
    run: Callable[[Clip, ClipFolder, Progress], list[SkippedFrame]]
    # Fields of the config, with their values, of which neither the clip nor an earlier
    # stage depends: where one changes, this stage runs again, with those after it.
    reads: Mapping[str, Any] = MappingProxyType({})
    files: tuple[str, ...] = ()  # Of `reads`: fields that name files; content counts.
    needs: tuple[str, ...] = ()  # Of the clip's folder: what earlier stages write.
    writes: tuple[str, ...] = ()  # In the clip's folder; gone before it runs again.
    # Whether all processes of a run on several hosts run it at the same time, as
    # training needs it. The first alone writes; it alone runs all other stages.
    together: bool = False


class Task(NamedTuple):
    """A job.

    The published systems' `predict` is the chain of `stages`: so that it can be
    stopped, resumed, and fed with a user's own files at any point.
    """

    clips: Mapping[str, Callable[[], Clip]]  # By name; opened one at a time.
    stages: tuple[Stage, ...]  # In order, each on one clip.
    summary: Callable[[Mapping[str, ClipFolder]], dict[str, Any]]  # -> metrics.json
    runs: tuple[str, ...] = ()  # Of `stages`: those that this mode runs; none = all.
    paths: tuple[str, ...] = ()  # Fields of the config that are paths.
    init: Callable[[jax.Array], nnx.Module] | None = None  # Fresh weights.
    # From a step on: batches(clips, key, step); see `train.loop.BatchesFrom`.
    batches: (
        Callable[[Iterable[Clip], jax.Array, int], Iterator[Batch | Block]] | None
    ) = None
    loss: Callable[[nnx.Module, Batch, jax.Array], tuple[jax.Array, dict]] | None = None
    optimizer: optax.GradientTransformation | None = None
    fit: Any = None  # `train.loop.FitConfig`: how long it learns.
    save: Callable[[nnx.Module], None] | None = None  # Writes what the stages read.
    learns_after: str = (
        ""  # The last stage that `init` and `batches` read the files of.
    )
