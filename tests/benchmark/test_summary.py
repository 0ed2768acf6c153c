import json
import random
from itertools import pairwise

import numpy as np
import pytest
from helpers.benchmarks import METRICS
from scipy import stats

from rap_keras.benchmark.summary import summarize
from rap_keras.errors import InputError

# Three images, worked out by hand below; the second is the one where measures are undefined.
RAP = [
    {
        "ratio_all": 0.2,
        "ratio_positive": 0.1,
        "correct": 6,
        "labelled": 10,
        "intersection": [2, 4],
        "union": [4, 8],
        "average_precision": 0.9,
        "pointing_game": 1,
        "conservation_error": 1e-6,
        "sparsity": 0.4,
        "lerf": {"correct": [1, 1, 1], "logit": [10.0, 9.0, 5.0], "probability": [0.9, 0.6, 0.3]},
        "morf": {"correct": [1, 0, 0], "logit": [10.0, 4.0, 1.0], "probability": [0.9, 0.6, 0.3]},
    },
    {
        "ratio_all": None,
        "ratio_positive": 0.3,
        "correct": 18,
        "labelled": 20,
        "intersection": [10, 0],
        "union": [12, 0],
        "average_precision": None,
        "pointing_game": 0,
        "conservation_error": None,
        "sparsity": 0.5,
        "lerf": {"correct": [1, 1, 0], "logit": [6.0, 6.0, 3.0], "probability": [0.9, 0.6, 0.3]},
        "morf": {"correct": [1, 0, 1], "logit": [6.0, 3.0, 0.0], "probability": [0.9, 0.6, 0.3]},
    },
    {
        "ratio_all": 0.6,
        "ratio_positive": 1.1,
        "correct": 30,
        "labelled": 30,
        "intersection": [20, 10],
        "union": [24, 12],
        "average_precision": 0.6,
        "pointing_game": 1,
        "conservation_error": 3e-6,
        "sparsity": 0.9,
        "lerf": {"correct": [1, 0, 0], "logit": [8.0, 3.0, 1.0], "probability": [0.9, 0.6, 0.3]},
        "morf": {"correct": [1, 1, 0], "logit": [8.0, 2.0, 1.0], "probability": [0.9, 0.6, 0.3]},
    },
]
EXPECTED = {
    "ratio_all": (0.4, 2),
    "ratio_all_median": (0.4, 2),
    "ratio_positive": (0.5, 3),
    "ratio_positive_median": (0.3, 3),
    "pixel_accuracy": (54 / 60, 3),
    "iou_background": (32 / 40, 3),
    "iou_foreground": (14 / 20, 2),
    "mean_iou": (0.75, 3),
    "average_precision": (0.75, 2),
    "pointing_game": (2 / 3, 3),
    "conservation_error": (2e-6, 2),
    "conservation_error_median": (2e-6, 2),
    "sparsity": (0.6, 3),
    # The shares are 0, 0.25, 1: areas 1, 0.25 + 0.375, 0.125.
    "lerf_area": (1.75 / 3, 3),
    "lerf_accuracy_aopc": ((0 + 1 / 3 + 2 / 3) / 3, 3),
    "lerf_logit_aopc": ((6 / 3 + 3 / 3 + 12 / 3) / 3, 3),
    # 0.125, 0.125 + 0.375, 0.25 + 0.375.
    "morf_area": (1.25 / 3, 3),
    "morf_accuracy_aopc": ((2 / 3 + 1 / 3 + 1 / 3) / 3, 3),
    "morf_logit_aopc": ((15 / 3 + 9 / 3 + 13 / 3) / 3, 3),
}


def protocol_of(titles, metrics=METRICS, **changes):
    return {
        "methods": [{"title": title, "control": title.startswith("control")} for title in titles],
        "metrics": list(metrics),
        "perturbation": {"fractions": [0, 0.25, 1.0]},
        "pooled": True,
        "seed": 0,
    } | changes


def kept(results):
    """Records of images: results are {title: result of each image}."""
    count = len(next(iter(results.values())))
    return [
        {
            "position": 2 * k,
            "name": f"image {k}",
            "status": "kept",
            "results": {title: of_method[k] for title, of_method in results.items()},
        }
        for k in range(count)
    ]


def single(name, values, metric=None, **changes):
    """The summary of one number for each image, for a method called m."""
    records = kept({"m": [{name: value} for value in values]})
    summary = summarize(protocol_of(["m"], [metric or name], **changes), records)
    return summary["methods"]["m"]["quantities"][name]


@pytest.fixture
def other():
    """Results of a second method, other than those of the first."""
    rng = np.random.default_rng(3)
    return [
        result
        | {
            "ratio_all": None if k == 2 else result["ratio_positive"] + 1,
            "ratio_positive": float(rng.uniform()),
            "correct": result["correct"] - 3,
            "intersection": [2, 0],
            "average_precision": 0.5,
            "pointing_game": 0,
            "lerf": {
                "correct": [1, 0, 0],
                "logit": [1.0, 0.0, 0.0],
                "probability": [0.9, 0.6, 0.3],
            },
        }
        for k, result in enumerate(RAP)
    ]


def test_every_quantity_by_hand():
    summary = summarize(protocol_of(["rap"]), kept({"rap": RAP}))
    found = summary["methods"]["rap"]["quantities"]
    assert found.keys() == EXPECTED.keys()
    for name, (value, images) in EXPECTED.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-9), name
        assert found[name]["images"] == images, name
        assert found[name]["standard_error"] > 0, name


def test_per_image_segmentation_by_hand():
    summary = summarize(protocol_of(["rap"], pooled=False), kept({"rap": RAP}))
    found = summary["methods"]["rap"]["quantities"]
    expected = {
        "pixel_accuracy": ((0.6 + 0.9 + 1) / 3, 3),
        "iou_background": ((1 / 2 + 5 / 6 + 5 / 6) / 3, 3),
        # No pixel of the second image is foreground, neither on the mask nor on the map.
        "iou_foreground": ((1 / 2 + 5 / 6) / 2, 2),
        "mean_iou": ((1 / 2 + 5 / 6 + 5 / 6) / 3, 3),
    }
    for name, (value, images) in expected.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-9), name
        assert found[name]["images"] == images, name


def test_curves_by_hand():
    curves = summarize(protocol_of(["rap"]), kept({"rap": RAP}))["methods"]["rap"]["curves"]
    expected = {
        "lerf": {"accuracy": [1, 2 / 3, 1 / 3], "logit": [8, 6, 3]},
        "morf": {"accuracy": [1, 1 / 3, 1 / 3], "logit": [8, 3, 2 / 3]},
    }
    for name, parts in expected.items():
        for part, values in parts.items():
            assert curves[name][part]["value"] == pytest.approx(values, rel=1e-9)
    errors = curves["lerf"]["accuracy"]["standard_error"]
    assert errors[0] == 0
    # The bootstrap's own standard error of a share p of n: sqrt(p (1 - p) / n).
    assert errors[1:] == pytest.approx([np.sqrt(2) / 3 / np.sqrt(3)] * 2, rel=0.1)


def test_standard_errors_of_a_mean_are_analytic():
    values = np.random.default_rng(5).normal(3, 2, 200)
    expected = values.std(ddof=1) / np.sqrt(200)
    found = single("sparsity", values.tolist())
    assert found["standard_error"] == pytest.approx(expected, rel=0.15)
    records = kept(
        {
            "m": [
                {"lerf": {"correct": [1, 0, 0], "logit": [v, 2 * v, 0], "probability": [1, 0, 0]}}
                for v in values
            ]
        }
    )
    curve = summarize(protocol_of(["m"], ["lerf"]), records)["methods"]["m"]["curves"]["lerf"]
    found = curve["logit"]["standard_error"]
    assert found == pytest.approx([expected, 2 * expected, 0], rel=0.15)


def test_standard_errors_are_those_of_scipy():
    rng = np.random.default_rng(8)
    count = 60
    union = rng.integers(1, 1000, (count, 2))
    intersection = (union * rng.uniform(size=(count, 2))).astype(int)
    ratios = rng.lognormal(size=count)
    records = kept(
        {
            "m": [
                {
                    "ratio_all": float(ratios[k]),
                    "ratio_positive": float(ratios[k]),
                    "correct": int(intersection[k, 0]),
                    "labelled": int(union[k, 0]),
                    "intersection": intersection[k].tolist(),
                    "union": union[k].tolist(),
                }
                for k in range(count)
            ]
        }
    )
    protocol = protocol_of(["m"], ["ratio", "segmentation"], resamples=3000)
    found = summarize(protocol, records)["methods"]["m"]["quantities"]

    def pooled(b, f, ub, uf):
        return (b.sum() / ub.sum() + f.sum() / uf.sum()) / 2

    data = (intersection[:, 0], intersection[:, 1], union[:, 0], union[:, 1])
    options = {
        "n_resamples": 3000,
        "random_state": np.random.default_rng(0),
        "method": "percentile",
    }
    mean_iou = stats.bootstrap(data, pooled, paired=True, vectorized=False, **options)
    assert found["mean_iou"]["standard_error"] == pytest.approx(mean_iou.standard_error, rel=0.1)
    median = stats.bootstrap((ratios,), np.median, **options)
    assert found["ratio_all_median"]["value"] == pytest.approx(np.median(ratios), rel=1e-9)
    assert found["ratio_all_median"]["standard_error"] == pytest.approx(
        median.standard_error, rel=0.1
    )


def test_differences_are_paired_and_over_images_where_both_are_defined(other):
    summary = summarize(protocol_of(["rap", "b"]), kept({"rap": RAP, "b": other}))
    assert "differences" not in summary["methods"]["rap"]
    found = summary["methods"]["b"]["differences"]
    positive = np.mean([result["ratio_positive"] for result in other])
    expected = {
        "ratio_all": (0.9, 1),  # the first image only: 1.1 - 0.2
        "ratio_positive": (positive - 0.5, 3),
        "pixel_accuracy": (-9 / 60, 3),
        "mean_iou": ((6 / 40 + 0) / 2 - 0.75, 3),
        "average_precision": (0.5 - 0.75, 2),
        "pointing_game": (-2 / 3, 3),
        "lerf_area": (0.125 - 1.75 / 3, 3),
    }
    assert found.keys() == expected.keys()
    for name, (value, images) in expected.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-9), name
        assert found[name]["images"] == images, name
    assert found["ratio_all"]["standard_error"] is None


def test_the_error_of_a_difference_is_small_where_methods_go_along():
    rng = np.random.default_rng(2)
    values, step = rng.normal(size=200) * 10, 1 + 0.1 * rng.normal(size=200)
    results = {
        "rap": [{"average_precision": v} for v in values],
        "b": [{"average_precision": v + d} for v, d in zip(values, step, strict=True)],
    }
    methods = summarize(protocol_of(results, ["average_precision"]), kept(results))["methods"]
    found = methods["b"]["differences"]["average_precision"]
    assert found["value"] == pytest.approx(step.mean())
    assert found["standard_error"] == pytest.approx(step.std(ddof=1) / np.sqrt(200), rel=0.15)
    assert methods["b"]["quantities"]["average_precision"]["standard_error"] > 0.5


def test_the_reference_is_rap_or_the_first_or_the_chosen(other):
    results = {"a": RAP, "b": other}

    def of(titles, **options):
        named = kept({title: results["ab"[k]] for k, title in enumerate(titles)})
        summary = summarize(protocol_of(titles), named, **options)
        without = [t for t, method in summary["methods"].items() if "differences" not in method]
        assert without == [summary["reference"]]
        return summary

    assert of(["a", "rap"])["reference"] == "rap"
    first = of(["a", "b"])
    chosen = of(["a", "b"], reference="b")
    assert (first["reference"], chosen["reference"]) == ("a", "b")
    there = first["methods"]["b"]["differences"]["ratio_positive"]
    back = chosen["methods"]["a"]["differences"]["ratio_positive"]
    assert back["value"] == pytest.approx(-there["value"])
    assert back["interval"] == pytest.approx([-end for end in there["interval"][::-1]])
    with pytest.raises(
        InputError, match="Expected the reference among the methods a, b, got 'rap'"
    ):
        of(["a", "b"], reference="rap")


def test_methods_are_ranked_and_tests_are_corrected_over_them():
    """Against SciPy's tests of the values of each image, corrected by hand."""
    rng = np.random.default_rng(11)
    titles = ["rap", "b", "c", "control.random"]
    values = {t: rng.uniform(size=12) + 0.1 * k for k, t in enumerate(titles)}
    results = {t: [{"average_precision": v} for v in of] for t, of in values.items()}
    summary = summarize(protocol_of(titles, ["average_precision"]), kept(results))
    raw = {t: stats.wilcoxon(values[t] - values["rap"]).pvalue for t in titles[1:]}
    ordered = sorted(raw, key=lambda t: raw[t])
    corrected, largest = {}, 0.0
    for factor, title in zip((3, 2, 1), ordered, strict=True):
        largest = max(largest, factor * raw[title])
        corrected[title] = min(1.0, largest)
    for title, p_value in corrected.items():
        entry = summary["methods"][title]["differences"]["average_precision"]
        assert entry["p_value"] == pytest.approx(p_value)
        assert -1 <= entry["effect_size"] <= 1
    ranks = summary["ranks"]["average_precision"]
    assert list(ranks["methods"]) == ["rap", "b", "c"]
    best_first = [sorted(titles[:3], key=lambda t: -values[t][k]) for k in range(12)]
    for title, rank in ranks["methods"].items():
        assert rank == pytest.approx(np.mean([1 + order.index(title) for order in best_first]))
    assert summary["agreement"] == {"average_precision": {"average_precision": 1.0}}


def test_an_interval_holds_the_middle_of_the_resamples():
    values = np.random.default_rng(4).normal(size=80)
    found = single("average_precision", values.tolist(), resamples=4000)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=4000,
        method="percentile",
        random_state=np.random.default_rng(1),
    )
    width = expected.confidence_interval.high - expected.confidence_interval.low
    low, high = found["interval"]
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.06 * width)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.06 * width)


def test_only_what_was_measured_is_summarized():
    summary = summarize(protocol_of(["rap"], ["ratio"], perturbation=None), kept({"rap": RAP}))
    method = summary["methods"]["rap"]
    names = {f"ratio_{which}{kind}" for which in ("all", "positive") for kind in ("", "_median")}
    assert method["quantities"].keys() == names
    assert method["curves"] == {}


def test_an_undefined_quantity():
    found = single("average_precision", [None, None, None])
    unknown = {"standard_error": None, "interval": [None, None]}
    assert found == {"value": None, "images": 0} | unknown
    found = single("average_precision", [None, 0.25, None])
    assert found["value"] == 0.25
    assert (found["standard_error"], found["images"]) == (None, 1)
    # One resample of eight holds neither of the two; without it:
    found = single("average_precision", [0.0, 1.0] + [None] * 30)
    assert found["value"] == 0.5
    assert found["standard_error"] == pytest.approx(0.37, abs=0.08)


def test_values_that_are_all_the_same_have_no_error():
    found = single("average_precision", [0.1] * 7)
    assert found == {"value": 0.1, "standard_error": 0.0, "interval": [0.1, 0.1], "images": 7}


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [3.0, 1.0, 2.0, 8.0], [None, 5.0, 7.0]])
def test_medians(values):
    records = kept({"m": [{"conservation_error": value} for value in values]})
    summary = summarize(protocol_of(["m"], ["conservation"]), records)
    found = summary["methods"]["m"]["quantities"]["conservation_error_median"]
    assert found["value"] == np.median([value for value in values if value is not None])


def test_one_image_has_no_standard_error():
    method = summarize(protocol_of(["rap"]), kept({"rap": RAP[:1]}))["methods"]["rap"]
    assert method["quantities"]["ratio_all"] == {
        "value": 0.2,
        "standard_error": None,
        "interval": [None, None],
        "images": 1,
    }
    assert {entry["standard_error"] for entry in method["quantities"].values()} == {None}
    assert method["curves"]["lerf"]["logit"]["standard_error"] == [None] * 3


def test_no_image_kept():
    records = [{"position": k, "name": "x", "status": "misclassified"} for k in range(3)]
    records.append({"position": 9, "name": "x", "status": "skipped"})
    with pytest.raises(InputError, match=r"no image was kept, 3 misclassified and 1 skipped\.$"):
        summarize(protocol_of(["rap"]), records)


def test_order_and_images_left_out_do_not_matter(other):
    protocol, records = protocol_of(["rap", "b"]), kept({"rap": RAP, "b": other})
    first = summarize(protocol, records)
    shuffled = [
        *records,
        {"position": 1, "name": "x", "status": "skipped", "reason": "None."},
        {"position": 3, "name": "y", "status": "misclassified"},
    ]
    random.Random(1).shuffle(shuffled)
    assert [r["position"] for r in shuffled if r["status"] == "kept"] != [0, 2, 4]
    second = summarize(protocol, shuffled)
    assert json.dumps(second["methods"]) == json.dumps(first["methods"])
    assert (second["kept"], second["misclassified"], second["skipped"]) == (3, 1, 1)


def test_the_seed_decides():
    values = np.random.default_rng(0).normal(size=20).tolist()
    records = kept({"m": [{"sparsity": value} for value in values]})
    summaries = [
        json.dumps(summarize(protocol_of(["m"], ["sparsity"], seed=seed), records))
        for seed in (4, 4, 5)
    ]
    assert [one == next_ for one, next_ in pairwise(summaries)] == [True, False]


def test_more_resamples_come_nearer():
    values = np.random.default_rng(1).normal(size=50)
    exact = values.std() / np.sqrt(50)
    found = single("sparsity", values.tolist(), resamples=20000)
    assert found["standard_error"] == pytest.approx(exact, rel=0.02)


def test_the_summary_is_json():
    summary = summarize(protocol_of(["rap"]), kept({"rap": RAP}))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.mark.parametrize("replaced", [1.0, 0.5])
def test_replacements_are_compared(replaced):
    gains = {  # SRG with zero and with mean, of two images
        "rap": ([3.0, 5.0], [1.0, 1.0]),
        "gradient": ([1.0, 1.0], [2.0, 2.0]),
        "occlusion": ([0.0, 0.0], [0.0, 0.5]),
        "control.random": ([9.0, 9.0], [9.0, 9.0]),
    }
    others = ("srg_probability", "srg_accuracy", "srg_probability@mean", "srg_accuracy@mean")
    records = kept(
        {
            title: [
                {"srg": zero[k], "srg@mean": mean[k], "mean_area": 0.25 + 0.5 * k}
                | {"mean_area@mean": 0.1}
                | dict.fromkeys(others, 0.0)
                for k in (0, 1)
            ]
            for title, (zero, mean) in gains.items()
        }
    )
    perturbation = {"replacements": ["zero", "mean"], "fractions": [0, 0.25, replaced]}
    protocol = protocol_of([*gains], ("srg",), perturbation=perturbation)
    summary = summarize(protocol, records)
    found = summary["methods"]["gradient"]["quantities"]
    assert (found["srg"]["value"], found["srg@mean"]["value"]) == (1.0, 2.0)
    scores = {name: score["value"] for name, score in summary["imputers"]["r_oms"].items()}
    assert scores == {"zero": 0.5 / replaced, "mean": 0.1 / replaced}  # a mean over the share
    # Of the three pairs of methods, RAP and the gradient change places.
    assert summary["imputers"]["agreement"]["srg"]["zero"] == pytest.approx(
        {"zero": 1, "mean": 1 / 3}
    )


def test_resamples_are_at_least_two():
    record = {"position": 0, "name": "x", "status": "misclassified"}
    with pytest.raises(InputError, match="at least 2"):
        summarize(protocol_of(["rap"], resamples=1), [record])
