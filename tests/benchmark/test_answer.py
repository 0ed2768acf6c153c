"""The answer of a report: hand-made records whose best method, and how sure it is, are known."""

import numpy as np
import pytest

from rap_keras.benchmark.reporting.answer import answer, answer_lines
from rap_keras.benchmark.reporting.document import Paragraph, Table
from rap_keras.benchmark.summary import summarize

RISING = np.arange(1, 15) / 1000  # differences without ties
ALTERNATING = RISING * np.resize([1, -1, -1, 1], 14)


def run(values, *metrics):
    """Protocol and summary; values are {title: value of each image}, NaN is undefined."""
    metrics = metrics or ("average_precision",)
    methods = [{"title": title, "control": title.startswith("control")} for title in values]
    protocol = {"methods": methods, "metrics": list(metrics), "pooled": True, "seed": 0}
    protocol["grid"] = {"count": 4}
    images = []
    for k in range(len(next(iter(values.values())))):
        results = {}
        for title, of_images in values.items():
            value = float(of_images[k])
            number = value if np.isfinite(value) else None
            results[title] = dict.fromkeys(("grid_all", "random_logit_signed"))
            results[title] |= dict.fromkeys(metrics, number)
        images.append({"position": k, "status": "kept", "results": results})
    return protocol, summarize(protocol | {"resamples": 20}, images)


def table(protocol, summary):
    blocks = list(answer(protocol, summary))
    (found,) = (block for block in blocks if isinstance(block, Table))
    return found.rows, " ".join(block.text for block in blocks if isinstance(block, Paragraph))


@pytest.mark.parametrize(("images", "sure"), [(7, False), (8, True)])
def test_a_clear_best_needs_enough_images(images, sure):
    """Better on all n images: p = 2^(1 - n), times the 6 pairs of 3 methods, and with a control."""
    assert (2 ** (1 - images) * 6 < 0.05) == sure
    rise = RISING[:images]
    values = {"gradient": 0.3 - rise, "rap": 0.4 + rise, "grad_cam": 0.2 - rise}
    found = run(values | {"control.random": 0.1 - rise})[1]["best"]["average_precision"]
    not_worse = [[], []] if sure else [["gradient", "grad_cam"], ["control.random"]]
    assert [found["not_worse"], found["controls"]] == not_worse
    assert found["method"] == "rap"


def test_the_best_is_clear():
    values = {"rap": 0.8 + RISING, "gradient": 0.3 - RISING, "control.random": 0.1 - RISING}
    protocol, summary = run(values)
    rows, text = table(protocol, summary)
    ((what, method, value, level),) = rows
    assert what == "ranking the object's pixels first: average precision ↑"
    assert (method, level) == ("rap", "none")
    assert value.startswith("0.80")
    assert "Warning" not in text
    assert "Only 14 images kept" in text
    (line,) = answer_lines(protocol, summary)
    assert line == (
        f"Best at ranking the object's pixels first: rap (average precision: {value}); not shown to "
        "be worse: none"
    )


def test_a_tie_is_no_best():
    values = {
        "rap": 0.8 + RISING,
        "grad_cam": 0.7999 + RISING + ALTERNATING,
        "gradient": 0.3 + RISING,
    }
    protocol, summary = run(values)
    assert summary["best"]["average_precision"]["not_worse"] == ["grad_cam"]
    ((_, method, _, level),), _ = table(protocol, summary)
    assert (method, level) == ("rap", "grad_cam")


def test_a_control_that_wins_is_a_warning():
    values = {"rap": 0.5 + RISING, "gradient": 0.3 - RISING, "control.edges": 0.9 + RISING}
    protocol, summary = run(values)
    found = {"method": "rap", "not_worse": [], "controls": ["control.edges"]}
    assert summary["best"]["average_precision"] == found
    rows, text = table(protocol, summary)
    assert rows[0][3] == "control.edges"
    assert "Warning: the best method is not shown to be better than every control" in text
    assert answer_lines(protocol, summary)[1].startswith("Warning: the best method is not shown")


def test_a_shift_that_does_not_count_is_no_control():
    lrp = 0.5 + RISING
    values = {"lrp.alpha_1_beta_0": lrp, "gradient": 0.1 - RISING, "control.mean_shifted": lrp}
    assert run(values)[1]["best"]["average_precision"]["controls"] == []
    values["control.mean_shifted"] = lrp + ALTERNATING
    found = run(values)[1]["best"]["average_precision"]
    assert found["controls"] == ["control.mean_shifted"]


def test_lower_is_better_and_undefined_images_are_named():
    """By the random logit the smallest is the best; of grid only some images have a value."""
    some = np.where(np.arange(14) < 9, 0.5 + RISING, np.nan)
    values = {"rap": some, "gradient": some + 0.2}
    protocol, summary = run(values, "grid", "random_logit")
    assert summary["best"]["random_logit"]["method"] == "rap"
    ((what, method, value, _),), _ = table(protocol, summary)
    assert (what, method) == ("telling classes apart: grid pointing game ↑", "gradient")
    assert value.endswith(" on 9 images")


def test_other_quantities_answer_if_no_main_one_was_measured():
    protocol, summary = run({"rap": RISING, "gradient": 2 * RISING}, "random_logit")
    rows, _ = table(protocol, summary)
    assert [row[:2] for row in rows] == [["random logit ↓", "rap"]]
    assert answer_lines(protocol, summary)[0].startswith("Best by random logit: rap (0.0075 ± ")


def test_without_values_there_is_no_answer():
    protocol, summary = run({"rap": np.full(3, np.nan), "gradient": np.full(3, np.nan)})
    assert summary["best"] == {"average_precision": None}
    (few,) = answer(protocol, summary)
    assert few.text.startswith("Only 3 images kept")
    assert answer_lines(protocol, summary) == []


def test_a_method_alone_is_no_best():
    assert run({"rap": RISING})[1]["best"] == {"average_precision": None}


def test_another_best_with_another_replacement_is_a_warning():
    def method(zero, blur, mean, control=False):
        values = {"srg": zero, "srg@blur": blur, "srg@mean": mean}
        quantities = {
            name: {"value": value, "standard_error": 0.1, "images": 200}
            for name, value in values.items()
        }
        return {"control": control, "quantities": quantities}

    protocol = {"metrics": ["srg"], "perturbation": {"replacements": ["zero", "blur", "mean"]}}
    summary = {
        "kept": 200,
        "methods": {"rap": method(3.0, 1.0, 2.0), "grad_cam": method(2.0, 2.0, 1.0)}
        | {"control.random": method(0.0, 9.0, 9.0, control=True)},
        "best": {"srg": {"method": "rap", "not_worse": [], "controls": []}},
    }
    line, warning = answer_lines(protocol, summary)
    assert line.startswith("Best at showing what the model uses: rap (SRG: 3.00 ± 0.10); not shown")
    assert warning == (
        "Warning: with other replacements of pixels another method is best. SRG: grad_cam with blur."
    )
