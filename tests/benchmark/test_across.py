"""Methods over networks: the published example, and small reports worked out by hand."""

import itertools
import json
import zlib

import numpy as np
import pytest
from helpers.command_line import fail, succeed
from scipy import stats

from rap_keras.benchmark import across
from rap_keras.benchmark.networks import over_networks
from rap_keras.benchmark.results import Report, read_reports
from rap_keras.errors import InputError

# Demsar 2006, table 6: the area under the ROC curve of four classifiers on 14 data sets.
CLASSIFIERS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AUC = [
    [0.763, 0.768, 0.771, 0.798],
    [0.599, 0.591, 0.590, 0.569],
    [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657],
    [0.882, 0.888, 0.886, 0.898],
    [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685],
    [0.583, 0.583, 0.563, 0.625],
    [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000],
    [0.940, 0.962, 0.965, 0.962],
    [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.97501, 0.975],  # printed as equal, but ranked by a further digit
    [0.957, 0.978, 0.946, 0.970],
]


def report(name, network, values, ranks=None, kept=120):
    """A report; values are {quantity: {title: value}}, and None is undefined."""
    titles = dict.fromkeys(title for of_methods in values.values() for title in of_methods)
    protocol = {
        "model": f"{network}.keras",
        "weights_crc32": zlib.crc32(network.encode()),
        "data": "d",
    }
    methods = {
        title: {
            "control": title.startswith("control"),
            "quantities": {q: {"value": v[title]} for q, v in values.items() if title in v},
        }
        for title in titles
    }
    summary = {"kept": kept, "methods": methods, "ranks": ranks or {}}
    return Report(name, protocol | {"metrics": list(values)}, summary)


def written(folder, reports):
    """The folders of reports of which only the summary is left."""
    folders = []
    for one in reports:
        folders.append(folder / one.name)
        folders[-1].mkdir(parents=True)
        text = json.dumps({"protocol": one.protocol, "summary": one.summary})
        (folders[-1] / "summary.json").write_text(text)
    return folders


def published():
    return [
        report(
            f"{k:02}", f"n{k:02}", {"average_precision": dict(zip(CLASSIFIERS, row, strict=True))}
        )
        for k, row in enumerate(AUC)
    ]


def test_the_example_of_demsar():
    """Its mean ranks, statistic (without a correction for ties) and critical difference."""
    found = over_networks(published())["quantities"]["average_precision"]
    ranks = [found["methods"][title] for title in CLASSIFIERS]
    assert np.round(ranks, 3).tolist() == [3.143, 2.000, 2.893, 1.964]
    assert next(iter(found["methods"])) == "C4.5+m+cf"
    assert found["critical_difference"] == pytest.approx(1.25, abs=0.005)
    chi_square = 12 * 14 / (4 * 5) * (np.square(ranks).sum() - 4 * 5**2 / 4)
    assert chi_square == pytest.approx(9.28, abs=0.005)
    tied = [np.unique(row, return_counts=True)[1] for row in AUC]
    ties = sum((n**3 - n).sum() for n in tied)
    corrected = chi_square / (1 - ties / (14 * (4**3 - 4)))
    assert found["p_value"] == pytest.approx(stats.chi2.sf(corrected, 3), rel=1e-6)


def test_shares_and_spread_against_loops():
    rng = np.random.default_rng(5)
    titles = ("rap", "rap:dense=epsilon", "gradient", "grad_cam")
    signs = {"average_precision": 1, "random_logit": -1, "srg": 1}
    values = rng.normal(size=(5, 3, 4)) + 0.3 * np.arange(4)
    reports = [
        report(
            f"r{k}",
            f"n{k}",
            {
                q: dict(zip(titles, sign * of_network[j], strict=True))
                for j, (q, sign) in enumerate(signs.items())
            },
        )
        for k, of_network in enumerate(values)
    ]
    found = over_networks(reports[::-1])
    mean = {}
    for j, quantity in enumerate(signs):
        compared = found["quantities"][quantity]
        order = list(compared["methods"])
        for a, b in itertools.permutations(range(4), 2):
            wins = sum(bool(values[k, j, a] > values[k, j, b]) for k in range(5))
            assert compared["wins"][titles[a]][order.index(titles[b])] == wins
        for a, title in enumerate(titles):
            ranks = [1 + sum(values[k, j, b] > values[k, j, a] for b in range(4)) for k in range(5)]
            mean[quantity, title] = np.mean(ranks)
            assert compared["methods"][title] == pytest.approx(np.mean(ranks))
    spread = found["spread"]
    for title in titles:
        of_title = [mean[quantity, title] for quantity in signs]
        entry = spread["methods"][title]
        assert entry["ranks"] == pytest.approx(dict(zip(signs, of_title, strict=True)))
        assert entry["mean"] == pytest.approx(np.mean(of_title))
        assert entry["standard_deviation"] == pytest.approx(np.std(of_title, ddof=1))
    judges = np.array([stats.rankdata([mean[q, t] for t in titles]) for q in signs])
    ties = sum((n**3 - n).sum() for row in judges for n in [np.unique(row, return_counts=True)[1]])
    sums = judges.sum(axis=0)
    w = 12 * np.square(sums - sums.mean()).sum() / (3**2 * (4**3 - 4) - 3 * ties)
    assert spread["kendall_w"] == pytest.approx(w)


def test_reports_that_replace_pixels_differently_are_not_compared():
    values = {"srg": {"a": 1.0, "b": 2.0}, "average_precision": {"a": 2.0, "b": 1.0}}
    reports = [report(name, name, values) for name in "xyz"]
    for one, replacements in zip(reports, (["zero"], ["zero", "blur"], ["blur"]), strict=True):
        one.protocol["perturbation"] = {"replacements": replacements}
    found = over_networks(reports)
    assert list(found["quantities"]) == ["average_precision"]
    expected = "its reports replace pixels differently: zero in x, y; blur in z"
    assert found["left_out"]["srg"] == expected
    with pytest.raises(InputError, match=expected):
        over_networks(reports, ["srg"])
    assert list(over_networks(reports[:2], ["srg"])["quantities"]) == ["srg"]


def hand_made():
    """Networks x (two reports), y and z; `only` is undefined in one, random beats all on y."""
    test = {"methods": {"a": 1.5, "b": 2.0, "only": 2.5}, "critical_difference": 0.4}
    ranks = {"average_precision": test}
    rows = [
        ("x1", "x", {"a": 3.0, "b": 2.0, "c:n=1": 1.0, "only": 1.0, "control.random": 0.0}, ranks),
        ("x2", "x", {"a": 1.0, "b": 2.0, "c:n=1": 2.0000001, "control.random": 0.0}, None),
        ("y", "y", {"a": 2.0, "b": 1.0, "c:n=1": 0.5, "only": None, "control.random": 9.0}, ranks),
        ("z", "z", {"a": 2.0, "b": 2.0, "c:n=1": 0.5, "only": 2.0, "control.random": 0.0}, None),
    ]
    for *_, tests in rows:
        if tests:
            test["methods"]["c:n=1"] = 4.0
    return [report(n, net, {"average_precision": v}, r) for n, net, v, r in rows]


def test_several_reports_of_a_network_by_hand(tmp_path):
    folders = written(tmp_path / "in", hand_made())
    files = across(folders, tmp_path / "out")
    assert [file.name for file in files] == ["across.md", "across.html", "across.json"]
    read = json.loads(files[2].read_text())
    assert read["networks"] == {"x.keras": ["x1", "x2"], "y.keras": ["y"], "z.keras": ["z"]}
    assert read["spread"] is None
    found = read["quantities"]["average_precision"]
    # x1: a 1, b 2, c 3; x2: a 3, b and c 1.5 each: x 2, 1.75, 2.25, which are ranks 2, 1 and 3.
    assert found["methods"] == pytest.approx({"b": 4.5 / 3, "a": 4.5 / 3, "c:n=1": 9 / 3})
    # On x, a and b each win once: a tie. On z they tie.
    assert found["wins"]["a"] == [None, 2, 2.5, 2]
    assert found["wins"]["b"] == [1, None, 3, 2]
    # Only y has a test in each of its reports.
    assert found["tested"] == 1
    assert found["significant"] == {"a": [None, 1, 1], "b": [0, None, 1], "c:n=1": [0, 0, None]}
    assert found["left_out"] == {"only": ["x2", "y"]}
    page = files[0].read_text()
    assert "| 1 a | 1.50 |  | 0.67 \\[1\\] | 0.83 \\[1\\] | 0.67 |" in page
    assert "only (not in x2, y)" in page
    again = across(folders[::-1], tmp_path / "again")
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in files]


def test_folders_in_each_other_have_different_names(tmp_path):
    values = {name: {"average_precision": {"a": 0.1 * k, "b": 0.5}} for k, name in enumerate("xyz")}
    names = {"x": "runs", "y": "runs/runs", "z": "runs/other"}
    reports = [report(folder, name, values[name]) for name, folder in names.items()]
    read = read_reports(written(tmp_path, reports))
    assert {one.name: one.protocol["model"][0] for one in read} == {v: k for k, v in names.items()}


def test_two_networks_have_shares_and_no_test(tmp_path):
    x, _, y, _ = hand_made()
    found = over_networks([x, y])["quantities"]["average_precision"]
    assert found["p_value"] is found["critical_difference"] is None
    assert found["wins"]["a"] == [None, 2, 2, 1]
    page = across(written(tmp_path, [x, y]), tmp_path / "out")[0].read_text()
    assert "a test needs at least three networks and three methods" in page
    assert "Warning: by average precision the best method, a, is better than control.random" in page


def test_mechanism_tests_are_refused(tmp_path):
    x, y, *_ = hand_made()
    y.protocol.update(metrics=["unit_and"], data="units")
    del y.protocol["model"]
    with pytest.raises(InputError, match=r"images in each folder, got mechanism tests in .*x2'"):
        read_reports(written(tmp_path, [x, y]))


def test_other_quantities_and_replacements_are_compared_if_chosen():
    values = {"srg@blur": {"a": 3.0, "b": 1.0}, "ratio_all_median": {"a": 3.0, "b": 1.0}}
    reports = [report(name, name, values) for name in "xyz"]
    for one in reports:
        one.protocol["metrics"] = ["srg", "ratio"]
        one.protocol["perturbation"] = {"replacements": ["zero", "blur"]}
    found = over_networks(reports, list(values))["quantities"]
    assert found["srg@blur"]["methods"] == {"a": 1.0, "b": 2.0}
    assert found["ratio_all_median"]["methods"] == {"b": 1.0, "a": 2.0}
    assert found["srg@blur"]["title"] == "SRG with blur"
    with pytest.raises(InputError, match="by ratio_all, but only 0 of the 3 reports have it"):
        over_networks(reports)


def test_the_command(tmp_path):
    folders = written(tmp_path / "in", published())
    out = tmp_path / "out"
    text = succeed("report", *folders, "--across", "--out", out, "--metric", "average_precision")
    assert "average precision: C4.5+m+cf, mean rank 1.96 of 4 in 14 networks, p = 0.0" in text
    assert "; not significantly worse: all others\n" in text
    assert "across.html" in text
    assert "use --across" in fail("report", *folders)
    assert "leave them out" in fail("report", *folders, "--across", "--parquet")
    wrong = fail("report", *folders, "--across", "--metric", "average")
    assert "Expected one of the quantities average_precision, got 'average'" in wrong


def test_bad_input_is_one_sentence(tmp_path):
    x1, x2, y, _ = hand_made()
    other = report("o", "o", {"srg": {"a": 1.0, "b": 2.0}})
    apart = report("p", "p", {"average_precision": {"d": 1.0, "e": 2.0}})
    for reports, message in [
        ([x1, x2], "two networks, got 2 reports of the same network, x.keras"),
        ([x1, other], "compared by average_precision, but only 1 of the 2 reports have it"),
        ([x1, apart], "by average_precision, but the 2 reports that have it share no methods"),
    ]:
        with pytest.raises(InputError, match=message):
            over_networks(reports)
    with pytest.raises(InputError, match="by srg, but only 1 of the 3 reports have it"):
        over_networks([x1, y, other], ["srg"])
    folders = written(tmp_path, [x1, y])
    with pytest.raises(InputError, match="at least two networks, got 1"):
        read_reports(folders[:1])
    with pytest.raises(InputError, match=r"got the same in .* leave one out"):
        read_reports([folders[0], folders[0]])
    with pytest.raises(InputError, match="There are no results"):
        read_reports([folders[0], tmp_path])
    for text in ("[]", "{", '{"protocol": {"model": "m"}, "summary": {}}'):
        (tmp_path / "y" / "summary.json").write_text(text)
        with pytest.raises(InputError, match="to be the summary of a benchmark, got another file"):
            read_reports(folders)
