"""The search finds the best partition of all; its sums are the definition's."""

import itertools

import numpy as np
import pytest

from egojax.methods.tracklet_chains import BROKEN, Bonds, evaluate, lay_out
from egojax.methods.tracklet_cuts import Noise
from egojax.methods.tracklet_evidence import (
    EvidenceConfig,
    Tracklets,
    link_terms,
    make_model,
    pair_score,
    set_terms,
)
from egojax.methods.tracklet_moves import all_moves, change_of
from egojax.methods.tracklet_search import candidates, search


def random_model(seed: int, count: int = 7, config: EvidenceConfig | None = None):
    """Tracklets of three look-alikes, some brief, some without a place."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 3, count)
    first = np.sort(rng.integers(0, 60, count))
    last = first + rng.integers(0, 15, count)
    place = np.array([[0, 0, 0], [0.2, 0, 0], [0.1, 0.2, 0]])[owner]
    place = place + 0.05 * rng.normal(size=(count, 3))
    place[rng.random(count) < 0.1] = np.nan
    both = np.repeat(place[:, None], 2, axis=1)
    looks = 0.3 * np.eye(3, 6)[owner] + 0.1 * rng.normal(size=(count, 6))
    tracklets = Tracklets(
        first=first,
        last=last,
        count=last - first + 1,
        segment_id=rng.integers(1, 5, count),
        category=rng.integers(-1, 2, count),
        start=both,
        end=both,
        start_error=np.full((count, 2), 0.02),
        end_error=np.full((count, 2), 0.02),
        moving_in=rng.random(count) < 0.2,
        moving_out=rng.random(count) < 0.2,
        feature=looks,
        change=np.full(count, np.nan),
    )
    return make_model(tracklets, Noise(0.02, 0.2), config or EvidenceConfig())


def free(count: int) -> Bonds:
    return Bonds(np.zeros((count, 0), bool), np.zeros((0, 0), bool))


def bound(count: int, must: list, cannot: list) -> Bonds:
    """Sets of tracklets that are one, and pairs of those sets that are not."""
    holds = np.zeros((count, len(must)), bool)
    for k, members in enumerate(must):
        holds[members, k] = True
    conflicts = np.zeros((len(must), len(must)), bool)
    for a, b in cannot:
        conflicts[a, b] = conflicts[b, a] = True
    return Bonds(holds, conflicts)


def chain_evidence(model, bonds: Bonds, chain: list[int]) -> float:
    """The definition, link by link."""
    weights = np.array(model.config.weights)
    looks, kinds = set_terms(model, model.sums[chain].sum(0, keepdims=True))
    total = weights[1] * looks[0] + weights[2] * kinds[0]
    for i, j in itertools.pairwise(chain):
        if model.tracklets.first[j] <= model.tracklets.last[i]:
            return -np.inf
        place, same_id = (float(x[0]) for x in link_terms(model, *np.array([[i], [j]])))
        total += weights[3] * same_id + weights[4]
        if not (model.solid[i] and model.solid[j]):
            total += weights[0] * model.config.brief_weight * place
    for i, j in itertools.pairwise([k for k in chain if model.solid[k]]):
        total += weights[0] * float(link_terms(model, *np.array([[i], [j]]))[0][0])
    has = bonds.holds[chain].any(0)
    return total - BROKEN * (
        has.sum() + (bonds.conflicts & np.outer(has, has)).sum() / 2
    )


def partitions(items: list[int]):
    """All set partitions, members in order."""
    if not items:
        yield []
        return
    head, rest = items[0], items[1:]
    for part in partitions(rest):
        yield [[head], *part]
        for k in range(len(part)):
            yield [*part[:k], [head, *part[k]], *part[k + 1 :]]


def best_partition(model, bonds: Bonds) -> float:
    every = list(range(len(model.tracklets.first)))
    value = {}

    def evidence(chain):
        key = tuple(chain)
        if key not in value:
            value[key] = chain_evidence(model, bonds, chain)
        return value[key]

    return max(sum(map(evidence, part)) for part in partitions(every))


def test_the_search_finds_the_best_of_all_partitions():
    """Against all 203 partitions of 6 tracklets; noisy ones, with many near-ties."""
    short = []
    for seed in range(30):
        model = random_model(seed, 6)
        found = search(model, free(6), neighbours=8)
        direct = sum(chain_evidence(model, free(6), chain) for chain in found.chains)
        assert found.evidence == pytest.approx(direct, abs=1e-6)
        short.append(best_partition(model, free(6)) - found.evidence)
    assert min(short) > -1e-6, "better than the best: the evidence is wrong"
    assert np.mean(np.array(short) > 1e-6) < 0.05 and max(short) < 1.0


def test_with_constraints_it_finds_the_best_that_obeys():
    short = []
    for seed in range(100, 110):
        model = random_model(seed, 6)
        first, last = model.tracklets.first, model.tracklets.last
        pairs = itertools.combinations(range(6), 2)
        a, b = next((a, b) for a, b in pairs if first[b] > last[a])
        other = next(k for k in range(6) if k not in (a, b))
        bonds = bound(6, [[a, b], [other]], [(0, 1)])
        found = search(model, bonds, neighbours=8)
        of = {k: n for n, chain in enumerate(found.chains) for k in chain}
        assert of[a] == of[b] != of[other]
        short.append(best_partition(model, bonds) - found.evidence)
    assert min(short) > -1e-6 and np.mean(np.array(short) > 1e-6) <= 0.1


@pytest.mark.parametrize("seed", range(5))
def test_running_sums_give_the_evidence_of_any_stretches(seed):
    model, bonds = random_model(seed, 9), bound(9, [[0], [3], [5]], [(0, 2)])
    rng = np.random.default_rng(seed)
    every = list(range(9))
    chains = [every[k::4] for k in range(4)]
    layout = lay_out(model, bonds, chains)
    picks = rng.permutation(4)[:3]
    parts = np.zeros((1, 3, 2), int)
    for slot, c in enumerate(picks):
        low = rng.integers(layout.low[c], layout.high[c] + 1)
        parts[0, slot] = low, rng.integers(low, layout.high[c] + 1)
    members = [int(k) for a, b in parts[0] for k in layout.order[a:b]]
    want = chain_evidence(model, bonds, members) if members else 0.0
    got = evaluate(model, bonds, layout, parts)[0]
    # The definition stops at the first overlap; inside old chains none is looked for.
    inner = [layout.order[a:b] for a, b in parts[0]]
    clean = all(
        model.tracklets.first[j] > model.tracklets.last[i]
        for chain in inner
        for i, j in itertools.pairwise(chain)
    )
    if clean:
        assert got == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_move_keeps_every_tracklet_exactly_once(seed):
    model = random_model(seed, 9)
    layout = lay_out(model, free(9), [[0, 3, 6], [1, 4, 7], [2, 5], [8]])
    i, j = np.triu_indices(9, 1)
    moves = all_moves(i, j, 9)
    change = change_of(layout, moves)
    assert change.valid.any()
    for row in np.flatnonzero(change.valid):
        spans = change.parts[row].reshape(-1, 2)
        after = sorted(p for a, b in spans for p in range(a, b))
        old = sorted(set(change.old[row].tolist()))
        before = [p for c in old for p in range(layout.low[c], layout.high[c])]
        assert after == sorted(before)


def test_a_pair_is_worth_the_same_as_a_chain_of_two():
    model = random_model(3)
    for i, j in itertools.combinations(range(7), 2):
        if model.tracklets.first[j] > model.tracklets.last[i]:
            pair = pair_score(model, np.array([i]), np.array([j]))[0]
            assert pair == pytest.approx(chain_evidence(model, free(7), [i, j]))


def test_a_tracklet_alone_has_no_evidence():
    model = random_model(4)
    looks, kinds = set_terms(model, model.sums)
    np.testing.assert_allclose(looks, 0, atol=1e-9)
    np.testing.assert_allclose(kinds, 0, atol=1e-9)


def test_candidates_are_few_and_in_order_of_time():
    model = random_model(5, 200)
    i, j = candidates(model, neighbours=3)
    assert (model.tracklets.first[j] > model.tracklets.last[i]).all()
    assert len(i) <= 200 * 7


def test_margins_are_what_the_best_other_predecessor_costs():
    """One sure link, one that could as well not be."""
    model = random_model(6, 2)
    found = search(model, free(2), neighbours=4)
    total = found.evidence
    other = best_partition(model, free(2))
    assert total == pytest.approx(other)
    joined = chain_evidence(model, free(2), [0, 1])
    apart = sum(chain_evidence(model, free(2), [k]) for k in (0, 1))
    if np.isfinite(joined):
        assert found.margin[1] == pytest.approx(abs(joined - apart), abs=1e-6)
