"""The EgoSeg3D protocol: official numbers, the worked example, its flags."""

import numpy as np
import pytest

from egojax import metrics

T8 = {"plate": 5, "cup": 9}


def worked_example():
    """A plate whose track breaks and a cup that appears late (class maps, ids)."""
    truth = np.full((6, 64, 80), -1, np.int32)
    pred = np.zeros((6, 64, 80), np.uint32)
    for t in range(6):
        truth[t, 4:34, 4:34] = 5
        pred[t, 4 + t : 34 + t, 4:34] = 11 if t < 3 else 12
        if t >= 2:
            truth[t, 36:60, 40:76] = 9
    pred[0, 40:62, 4:30] = 23
    pred[3:5, 36:60, 40:70] = 21
    pred[5, 36:56, 40:64] = 22
    category = {11: 5, 12: 5, 21: 9, 22: 9, 23: 9}
    return truth, pred, category


def evaluate(truth, pred, category, classes=T8, true_category=None, **flags):
    recorder = metrics.EgoSegRecorder(classes, **flags)
    for a, b in zip(truth, pred, strict=True):
        recorder.add(a, b, category, true_category)
    return recorder.finish()


def test_the_official_evaluation_of_three_classes_is_reproduced(
    oracle, from_runs, agrees
):
    case = oracle("egoseg_protocol")["cases"][0]
    given, expected = case["inputs"], case["outputs"]
    category = {int(k): v for k, v in given["pred_category_of_instance"].items()}
    video = evaluate(
        from_runs(given["gt_labels"]),
        from_runs(given["pred_labels"]),
        category,
        given["gt_class_id"],
        pred_categories=given["category_ids"],
        min_area=given["min_area"],
    )
    assert set(video.per_class) == set(expected["per_class"])
    for name, outputs in expected["per_class"].items():
        ours = video.per_class[name].compute()
        agrees(ours, outputs["Identity"] | outputs["CLEAR"])
        assert ours["HOTA"] == pytest.approx(outputs["HOTA_mean"], abs=1e-12)
        counts = ("num_frames_used", "num_gt_dets", "num_tracker_dets")
        assert [ours[k] for k in ("Frames", "GT_Dets", "Dets")] == [
            outputs[k] for k in counts
        ]
    ours, outputs = video.compute(), expected["all_classes_det_averaged"]
    agrees(ours, outputs["Identity"] | outputs["CLEAR"])
    for name, value in outputs["HOTA"].items():
        key = f"{name}_by_alpha" if isinstance(value, list) else name
        agrees(ours, {key: value})
    for name in ("HOTA", "DetA", "AssA"):
        assert ours[name] == pytest.approx(outputs[f"{name}_mean"], abs=1e-12)


def test_the_worked_example_of_the_specification_holds(agrees):
    video = evaluate(*worked_example())
    plate, cup = (video.per_class[k].compute() for k in ("plate", "cup"))
    agrees(
        plate,
        {
            "HOTA": 0.6130561584,
            "DetA": 0.8336067,
            "AssA": 0.4595395,
            "LocA": 0.8741199,
            "IDF1": 0.5,
            "IDTP": 3,
            "IDFN": 3,
            "IDFP": 3,
            "IDSW": 1,
            "MOTA": 0.8333333,
            "MOTP": 0.8512762,
            "HOTA_by_alpha": [0.70710678] * 14
            + [0.543984, 0.450694, 0.408248, 0.239046, 0.106600],
        },
        5e-7,
    )
    agrees(cup, {"HOTA": 0.4210526, "IDF1": 0.6666667, "MOTA": 0.5, "Frames": 4}, 5e-8)
    agrees(cup, {"IDTP": 2, "IDFN": 2, "IDFP": 0})
    combined = {
        "HOTA": 0.5495504,
        "DetA": 0.6694835,
        "AssA": 0.4624731,
        "LocA": 0.8688375,
        "OWTA": 0.5610041,
        "IDF1": 0.5555556,
        "MOTA": 0.7,
        "MOTP": 0.8467905,
    }
    agrees(video.compute(), combined, 5e-8)


def test_the_tap_bug_comes_back_on_request_alone(agrees):
    truth, pred, category = worked_example()
    classes = T8 | {"tap": 0}
    right = evaluate(truth, pred, category, classes)
    assert right.skipped == ("tap",)
    agrees(right.compute(), {"HOTA": 0.5495504, "IDF1": 0.5555556}, 5e-8)
    buggy = {
        "HOTA": 0.4373202,
        "DetA": 0.4222286,
        "AssA": 0.4624731,
        "IDF1": 0.4166667,
        "MOTA": 0.4375,
    }
    for background in (-1, 0):
        maps = np.where(truth < 0, background, truth)
        video = evaluate(maps, pred, category, classes, official_tap_bug=True)
        agrees(video.compute(), buggy, 5e-8)


def test_strict_mode_charges_tracks_drawn_while_the_object_is_absent():
    """The false cup of frame 0 has 572 pixels and costs precision in strict mode."""
    loose = evaluate(*worked_example()).per_class["cup"].compute()
    strict = evaluate(*worked_example(), strict=True).per_class["cup"].compute()
    assert (loose["CLR_FP"], strict["CLR_FP"]) == (0, 1)
    assert (loose["Frames"], strict["Frames"]) == (4, 6)
    assert strict["DetRe"] == loose["DetRe"]
    assert strict["DetPr"] < loose["DetPr"]


def test_ids_per_class_count_each_instance_once():
    video = evaluate(*worked_example())
    assert video.identity_count == {"plate": 2, "cup": 2}
    assert video.compute()["ids_per_class"] == 2.0


def test_ignored_classes_and_unknown_categories_do_not_take_part():
    truth, pred, category = worked_example()
    video = evaluate(truth, pred, category, {"plate": 5, "salt": 9})
    assert list(video.per_class) == ["plate"]
    unknown = evaluate(truth, pred, category, pred_categories={"plate": 5})
    assert unknown.per_class["cup"].compute()["Dets"] == 0


def test_a_table_of_true_objects_keeps_their_identities():
    """Two cups of one class: as objects both count, as one class map they are one."""
    truth = np.zeros((4, 40, 60), np.int32)
    truth[:, 5:35, 5:25], truth[:, 5:35, 35:55] = 1, 2
    category = {1: 9, 2: 9}
    video = evaluate(truth, truth, category, true_category=category)
    assert video.per_class["cup"].compute()["GT_IDs"] == 2
    assert video.compute()["HOTA"] == 1.0
    as_class = np.where(truth > 0, 9, -1)
    merged = evaluate(as_class, truth, category).per_class["cup"].compute()
    assert merged["GT_IDs"] == 1
    assert merged["HOTA"] < 1


def test_a_true_map_of_another_size_is_brought_to_the_prediction():
    truth, pred, category = worked_example()
    large = truth.repeat(2, 1).repeat(2, 2)
    one, other = (evaluate(t, pred, category).compute() for t in (truth, large))
    assert one["HOTA"] == other["HOTA"]


def test_videos_are_averaged_and_merge():
    video = evaluate(*worked_example())
    half = evaluate(*worked_example(), classes={"cup": 9})
    scores = metrics.EgoSegScores().update(video)
    scores = scores.merge(metrics.EgoSegScores((half,)))
    mean = (video.compute()["HOTA"] + half.compute()["HOTA"]) / 2
    assert scores.compute()["HOTA"] == pytest.approx(mean)
    assert len(scores.compute()["HOTA_by_alpha"]) == 19


@pytest.mark.parametrize("area", [499, 500, 501])
def test_segments_count_from_500_pixels_and_match_above_them(area):
    truth = np.full((30, 40), -1)
    truth.reshape(-1)[:area] = 5
    pred = (truth == 5).astype(int)
    recorder = metrics.EgoSegRecorder({"plate": 5})
    recorder.add(truth, pred, {1: 5})
    video = recorder.finish()
    assert video.identity_count["plate"] == (area >= 500)
    assert video.per_class["plate"].compute()["Dets"] == (area > 500)
