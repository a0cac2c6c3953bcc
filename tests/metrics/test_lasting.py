"""How long ids last: by hand, and what must not change it."""

import numpy as np
import pytest

from egojax.metrics import LastingScores, frame_overlap, object_ids


def test_the_first_id_the_main_one_and_changes_by_hand():
    """Object 1: 5 5 . 6 6 6; object 2: seen in two frames, never named."""
    frames = [{1: 5, 2: 0}, {1: 5, 2: 0}, {1: 0}, {1: 6}, {1: 6}, {1: 6}]
    assert LastingScores.of_ids(frames) == LastingScores(8, 5, 2, 3, 1)
    found = LastingScores.of_ids(frames).compute()
    expected = {
        "ids_first": 0.4,
        "ids_main": 0.6,
        "ids_switches": 200.0,
        "ids_named": 0.625,
    }
    assert found == pytest.approx(expected)


def test_an_id_is_of_what_covers_most_if_it_covers_a_quarter():
    truth = np.repeat([[1] * 8, [2] * 8, [3] * 8], 1, axis=0)
    found = np.array([[4, 4, 4, 5, 5, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0], [6] * 8])
    overlap = frame_overlap(truth, found)
    assert object_ids(overlap) == {1: 4, 2: 0, 3: 6}
    assert object_ids(frame_overlap(truth, 0 * found)) == {1: 0, 2: 0, 3: 0}
    assert object_ids(frame_overlap(0 * truth, found)) == {}


@pytest.mark.parametrize("seed", range(5))
def test_other_names_of_ids_change_nothing_and_sequences_add_up(seed):
    draw = np.random.default_rng(seed)
    clips = [
        [{k: int(draw.integers(0, 4)) for k in draw.permutation(3)} for _ in range(20)]
        for _ in range(2)
    ]
    both = [LastingScores.of_ids(frames) for frames in clips]
    renamed = [[{k: v and 90 - v for k, v in f.items()} for f in c] for c in clips]
    assert [LastingScores.of_ids(frames) for frames in renamed] == both
    # The objects of the second clip are others: numbers of both in one.
    joined = [
        a | {k + 10: v for k, v in b.items()} for a, b in zip(*clips, strict=True)
    ]
    assert LastingScores.of_ids(joined) == both[0].merge(both[1])


def test_ids_that_last_are_whole_and_nothing_is_undefined():
    same = LastingScores.of_ids([{1: 7, 2: 8}] * 4).compute()
    assert same["ids_first"] == same["ids_main"] == same["ids_named"] == 1
    assert same["ids_switches"] == 0
    assert all(np.isnan(v) for v in LastingScores.empty().compute().values())
    never = LastingScores.of_ids([{1: 0}]).compute()
    assert never["ids_named"] == 0 and np.isnan(never["ids_first"])


def test_a_sequence_is_that_of_its_label_maps():
    truth = np.array([[1, 1, 2, 2]])
    found = [np.array([[3, 3, 4, 4]]), np.array([[4, 4, 3, 3]])]
    scores = LastingScores.of(frame_overlap(truth, image) for image in found)
    assert scores == LastingScores(4, 4, 2, 2, 2)
