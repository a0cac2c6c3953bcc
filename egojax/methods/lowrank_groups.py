"""Parts of tracks that move as one, by the low-rank loss over free masks.

Each track has a share in K masks, free variables that descend the loss of
`lowrank_masks`. It has local minima: so the first descent starts from a spectral
embedding of the tracks' affinities, others by chance; masks are soft at first (on
request annealed); what was cut too much is merged while that lowers the loss of hard
masks; and the descent that ends lowest is kept.

Source: Karazija et al. 2024 (LRTL); Ng et al. 2001 (spectral clustering), Amini et al.
2013 (with a little affinity between all, so that outliers are no clusters).
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.cluster.vq import kmeans2
from scipy.sparse.linalg import eigsh

from egojax.methods.lowrank_masks import (
    LossSettings,
    MaskProblem,
    descend,
    mask_loss,
    mask_problem,
    merging_gain,
)
from egojax.methods.motion_groups import Graph
from egojax.methods.motion_windows import WindowMotion

SURE, JITTER, SPREAD = 2.0, 0.1, 0.5  # Of a start: logits, and their deviations.
LEAST = 6  # Tracks of a piece.
TIE = 1.0  # Affinity of a track to the node that ties all.
TRIES = 4  # Of k-means.
DENSE = 64  # Tracks, up to which eigenvectors are those of a dense matrix.


@dataclasses.dataclass(frozen=True)
class LowRankSettings:
    """How masks are found; `loss` is what they cost."""

    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    masks: int = 8  # K: bodies, and parts of the scene that parallax tells apart.
    start: Literal["spectral", "random"] = "spectral"  # Of the first descent.
    restarts: int = 2  # Descents.
    steps: int = 120  # Of each.
    batch: int = 12  # Windows of a step.
    rate: float = 0.2  # Of Adam, in logits.
    coldest: float = 1.0  # Temperature of the last step, from 1 on; 1 = no annealing.
    merge: bool = True  # Masks whose union costs less.
    apart: float = 4.0  # Gap of pairs that do not hold a part together; 0 = any does.


class Parts(NamedTuple):
    """What descents ended in."""

    part: np.ndarray  # int64 (N,), 0..P - 1.
    loss: float
    tried: tuple[float, ...]  # The loss of each descent.


def low_rank_parts(
    windows: Sequence[WindowMotion],
    graph: Graph,
    num_tracks: int,
    seed: int = 0,
    settings: LowRankSettings | None = None,
) -> np.ndarray:
    """The part of each track, int64 (N,): of `find_parts`, what is in one piece."""
    settings = settings or LowRankSettings()
    part = find_parts(windows, graph, num_tracks, seed, settings).part
    return in_pieces(part, graph, settings.apart) if settings.apart else part


def find_parts(
    windows: Sequence[WindowMotion],
    graph: Graph,
    num_tracks: int,
    seed: int = 0,
    settings: LowRankSettings | None = None,
) -> Parts:
    """Cuts tracks into parts that move as one.

    Args:
      windows: One or more, of tracks 0..N - 1, each of which is in one or more.
      graph: Of the same tracks.
      seed: Of starts, and of the windows of each step.

    Returns:
      The parts of the descent that ended lowest. More `restarts` never end higher.

    Raises:
      ValueError: no windows.
    """
    settings = settings or LowRankSettings()
    if not windows:
        raise ValueError("no windows to find parts in")
    problem = mask_problem(windows, graph, num_tracks, settings.loss)
    found = []
    for n in range(settings.restarts):
        of_start, of_steps = jax.random.split(
            jax.random.fold_in(jax.random.key(seed), n)
        )
        # Of padding, too: of any number of tracks the same programs.
        logits = jax.random.normal(of_start, (len(problem.share), settings.masks))
        if n == 0 and settings.start == "spectral":
            part = spectral_parts(graph, num_tracks, settings.masks, seed)
            sure = np.zeros(logits.shape, np.float32)
            sure[np.arange(num_tracks), part] = SURE
            logits = jnp.asarray(sure) + JITTER * logits
        else:
            logits = SPREAD * logits
        found.append(_descent(problem, logits, of_steps, settings))
    loss, part = min(found, key=lambda one: one[0])
    _, part = np.unique(part[:num_tracks], return_inverse=True)
    return Parts(part, loss, tuple(one[0] for one in found))


def in_pieces(part: np.ndarray, graph: Graph, apart: float) -> np.ndarray:
    """The parts, those that are in several pieces cut up, int (N,).

    One affine motion can be that of two small bodies which are far from each other.

    Args:
      part: int (N,).
      apart: The gap of a pair that does not hold a piece together.

    Returns:
      Of each part the pieces of `LEAST` tracks or more, and all that is left as one.
    """
    first, second = graph.pairs.T
    holds = (part[first] == part[second]) & (graph.gap < apart)
    joints = np.ones(holds.sum()), (first[holds], second[holds])
    bonds = sparse.coo_matrix(joints, (len(part), len(part)))
    _, piece = sparse.csgraph.connected_components(bonds, directed=False)
    is_large = np.bincount(piece)[piece] >= LEAST
    found = np.where(is_large, part.max() + 1 + piece, part)
    return np.unique(found, return_inverse=True)[1]


def _descent(
    problem: MaskProblem, logits: jax.Array, key: jax.Array, settings: LowRankSettings
) -> tuple[float, np.ndarray]:
    """The loss of hard masks in the end, and the mask of each track and padding."""
    logits = descend(
        problem,
        logits,
        key,
        settings.loss,
        steps=settings.steps,
        batch=settings.batch,
        rate=settings.rate,
        coldest=settings.coldest,
    )
    part = np.asarray(logits.argmax(1))
    if settings.merge:
        part = _merged(problem, part, settings)
    masks = jax.nn.one_hot(part, settings.masks)
    return float(mask_loss(problem, masks, settings.loss)), part


def _merged(
    problem: MaskProblem, part: np.ndarray, settings: LowRankSettings
) -> np.ndarray:
    """Parts of which no two would cost less as one.

    Args:
      part: int (N,), of tracks and padding, below `settings.masks`.
    """
    part = part.copy()
    while True:
        masks = jax.nn.one_hot(part, settings.masks)
        gain = np.asarray(merging_gain(problem, masks, settings.loss))
        # A mask that is not in use is no part.
        used = np.bincount(part, minlength=len(gain)) > 0
        gain = np.where(used[:, None] & used[None], gain, -np.inf)
        first, second = np.unravel_index(gain.argmax(), gain.shape)
        if not gain[first, second] > 0:
            return part
        part[part == second] = first


# ------------------------------------------------------------------------- spectral


def spectral_parts(graph: Graph, num_tracks: int, count: int, seed: int) -> np.ndarray:
    """Clusters of the tracks by how alike they are, int (N,), below `count`.

    Args:
      count: Of clusters, at most.
    """
    vectors = _eigenvectors(graph, num_tracks, min(count, num_tracks), seed)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = vectors / np.maximum(length, 1e-12)
    draw = np.random.default_rng(seed)
    tries = []
    for _ in range(TRIES):
        centers, part = kmeans2(rows, vectors.shape[1], minit="++", seed=draw)
        tries.append((((rows - centers[part]) ** 2).sum(), part))
    return min(tries, key=lambda one: one[0])[1]


def _eigenvectors(graph: Graph, num_tracks: int, count: int, seed: int) -> np.ndarray:
    """(N, count), of the largest eigenvalues of the normal affinities."""
    # One more node, which all tracks are tied to.
    hub = np.stack([np.arange(num_tracks), np.full(num_tracks, num_tracks)], -1)
    pairs = np.concatenate([graph.pairs, graph.pairs[:, ::-1], hub, hub[:, ::-1]])
    ties = np.full(2 * num_tracks, TIE)
    values = np.concatenate([graph.alike, graph.alike, ties])
    shape = (num_tracks + 1, num_tracks + 1)
    affinity = sparse.coo_matrix((values, pairs.T), shape).tocsr()
    root = sparse.diags_array(1 / np.sqrt(np.asarray(affinity.sum(1)).ravel()))
    normal = root @ affinity @ root
    if num_tracks <= max(DENSE, 2 * count):
        return np.linalg.eigh(normal.toarray())[1][:-1, -count:]
    # From a seed, so that the same tracks have the same parts.
    begin = np.random.default_rng(seed).standard_normal(num_tracks + 1)
    return eigsh(normal, k=count, which="LA", v0=begin, tol=1e-6)[1][:-1]
