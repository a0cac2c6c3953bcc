"""PCL: the official grid, and small cases by hand."""

import numpy as np
import pytest

from egojax import metrics


def detections_of(given):
    place = {name: k for k, name in enumerate(given["all_frames"])}
    return {
        place[name]: metrics.FrameDetections(
            row["tracked_gt"], row["tracked_ids"], np.array(row["loca"])
        )
        for name, row in given["results"].items()
    }


def test_the_official_grid_is_reproduced_exactly(oracle):
    case = oracle("osnom_pcl")["cases"][0]
    detections = detections_of(case["inputs"])
    frames = case["inputs"]["all_frames"]
    chosen = metrics.evaluation_frames(detections)
    expected = {tuple(names): at for names, at in case["outputs"]["evaluation_frames"]}
    assert {names: frames[at] for names, at in chosen.items()} == expected
    grid = case["outputs"]["grid"]
    # Names go up by two a frame, and the grid counts in names.
    radii = [float(r) for r in next(iter(grid.values()))]
    ours = metrics.percentage_correct(
        detections, len(frames), [int(n) // 2 for n in grid], radii
    )
    official = np.array([list(row.values()) for row in grid.values()], float)
    ours = np.where(ours < 0, -1, 100 * ours)
    np.testing.assert_allclose(ours, official, rtol=1e-15)


def test_a_track_that_is_lost_is_located_until_its_object_takes_another():
    """Three objects at rest; in frame 2 the cup comes back under another id."""
    place = np.eye(3)
    names = ("cup", "pan", "pot")
    detections = {
        0: metrics.FrameDetections(names, (1, 2, 3), place),
        2: metrics.FrameDetections(names, (4, 2, 3), place),
    }
    # The middle one of frames 0 and 2 is frame 2. Backward from there: the cup's
    # track 4 was nobody's at frames 0 and 1, so it has no location there.
    pcl = metrics.percentage_correct(detections, 4, [0, 1, 2], [0.1])
    np.testing.assert_allclose(pcl[:, 0], [1, 5 / 6, 2 / 3])


def test_two_objects_are_enough_where_there_are_never_more():
    detections = {0: metrics.FrameDetections(("a", "b"), (1, 2), np.zeros((2, 3)))}
    assert metrics.evaluation_frames(detections) == {("a", "b"): 0}


@pytest.mark.parametrize("distance", [0, 3])
def test_nothing_counted_is_minus_one(distance):
    detections = {0: metrics.FrameDetections(("a",), (1,), np.zeros((1, 3)))}
    assert metrics.percentage_correct(detections, 2, [distance], [1.0]) == -1
