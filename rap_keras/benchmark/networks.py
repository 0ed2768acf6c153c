"""Compares methods over networks, from the reports of several benchmarks.

The images of one network are no evidence about other networks, so each network counts once: networks
are the blocks of the tests (Demsar 2006), and each metric gives an order of the methods (as in LATEC,
Klein et al. 2024).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from rap_keras.benchmark.comparison import critical_difference, friedman, ranked
from rap_keras.benchmark.metrics import METRICS, Column, chosen, columns, imputers_of
from rap_keras.benchmark.results import Report
from rap_keras.benchmark.rows import MEAN_SHIFTED, SHIFTED_METHOD
from rap_keras.benchmark.statistics import Array, Json, rounded
from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean

FEWEST = 3
"""A quantity is compared if so many reports have it, and tested over so many networks."""


def over_networks(reports: Sequence[Report], quantities: Sequence[str] = ()) -> dict[str, Any]:
    """Compares the methods over networks; see `running.across`.

    Returns:
        `networks` has the names of the reports of each network; `reports` the `title`, `network`, `data`
        and number of `images` of each report; `quantities` the comparison by each quantity, see
        `_compared`; `left_out` why other quantities are not compared; and `spread` how much the order of
        the methods depends on the metric, see `_spread`.
    """
    names = _network_names(reports)
    networks: dict[str, list[str]] = {}
    for report in reports:
        networks.setdefault(names[report.name], []).append(report.name)
    if len(networks) < 2:
        raise InputError(
            f"Expected the reports of at least two networks, got {len(reports)} reports of the same "
            f"network, {next(iter(networks))}: add reports of other networks."
        )
    measured = dict.fromkeys(name for report in reports for name in report.protocol["metrics"])
    imputers = dict.fromkeys(name for r in reports for name in imputers_of(r.protocol)[1:])
    known = {c.quantity: c for c in columns(chosen(measured, imputers)) if c.better}
    for quantity in quantities:
        if quantity not in known:
            hint = did_you_mean(quantity, known)
            raise InputError(
                f"Expected one of the quantities {', '.join(known)}, got {quantity!r}"
                + (f"; {hint}" if hint else "."),
                "metric",
            )
    tables, left_out = {}, {}
    for quantity in dict.fromkeys(quantities or [q for q in known if known[q].difference]):
        found = _Table.of(reports, names, known[quantity])
        if isinstance(found, _Table):
            tables[quantity] = found
        else:
            left_out[quantity] = found
    if not tables or (quantities and left_out):
        quantity, why = next(
            iter(left_out.items()), ("any metric", "they have no metric to compare")
        )
        raise InputError(
            f"Expected reports that can be compared by {quantity}, but {why}: choose reports with the "
            "same metrics and methods."
        )
    return {
        "networks": networks,
        "reports": {
            report.name: {
                "title": report.protocol.get("title"),
                "network": names[report.name],
                "data": report.protocol["data"],
                "images": report.summary["kept"],
            }
            for report in reports
        },
        "quantities": {quantity: _compared(table) for quantity, table in tables.items()},
        "left_out": left_out,
        "spread": _spread(tables),
    }


def _network_names(reports: Sequence[Report]) -> dict[str, str]:
    """The name of each report's network: its model, with a number if others have the same name."""
    names: dict[tuple[Any, ...], str] = {}
    for report in reports:
        if report.network not in names:
            name, count = str(report.protocol["model"]), 1
            while name in names.values():
                count += 1
                name = f"{report.protocol['model']} ({count})"
            names[report.network] = name
    return {report.name: names[report.network] for report in reports}


@dataclass(frozen=True)
class _Table:
    """The values of one quantity in the reports that have it."""

    column: Column
    reports: list[Report]
    blocks: list[list[int]]  # the indices of the reports of each network
    methods: list[str]  # with a value in all of these reports
    controls: list[str]  # see `_same`
    left_out: dict[str, list[str]]  # the other methods, with the reports where they have no value

    @classmethod
    def of(
        cls, reports: Sequence[Report], names: Mapping[str, str], column: Column
    ) -> "_Table | str":
        """The table of a quantity, or why it is not compared."""
        quantity = column.quantity
        having = [
            report
            for report in reports
            if any(quantity in m["quantities"] for m in report.summary["methods"].values())
        ]
        if len(having) < min(FEWEST, len(reports)):
            return f"only {len(having)} of the {len(reports)} reports have it"
        blocks: dict[str, list[int]] = {}
        for k, report in enumerate(having):
            blocks.setdefault(names[report.name], []).append(k)
        if len(blocks) < 2:
            return f"the {len(having)} reports that have it are of one network"
        replaced = _replacements(having, quantity)
        if len(replaced) > 1:
            return "its reports replace pixels differently: " + "; ".join(
                f"{replacement} in {', '.join(of)}" for replacement, of in replaced.items()
            )
        control = {
            title: bool(method.get("control"))
            for report in having
            for title, method in report.summary["methods"].items()
        }
        absent = {
            title: [r.name for r in having if np.isnan(r.value(title, quantity))]
            for title in control
        }
        found = [title for title, without in absent.items() if not without]
        methods = [title for title in found if not control[title]]
        if len(methods) < 2:
            return f"the {len(having)} reports that have it share {len(methods) or 'no'} method" + (
                "" if methods else "s"
            )
        return cls(
            column,
            having,
            list(blocks.values()),
            methods,
            [title for title in found if control[title] and not _same(having, title, quantity)],
            {t: without for t, without in absent.items() if without and not control[t]},
        )

    def values(self, titles: Sequence[str]) -> Array:
        """The values, (titles, reports); higher is better."""
        sign = -1 if self.column.better == "lower" else 1
        quantity = self.column.quantity
        return sign * np.array(
            [[r.value(title, quantity) for r in self.reports] for title in titles]
        )

    def ranks(self, methods: Sequence[str]) -> Array:
        """The ranks in each network by the mean rank in its reports, (methods, networks)."""
        ranks = ranked(self.values(methods), "higher")
        return ranked(
            np.stack([ranks[:, block].mean(axis=1) for block in self.blocks], axis=1), "lower"
        )

    def wins(self, titles: Sequence[str]) -> Array:
        """1 where a title beats another in a network, 0.5 for a tie, (titles, titles, networks)."""
        values = self.values(titles)
        signs = np.sign(values[:, None] - values)
        return np.stack([np.sign(signs[:, :, b].sum(axis=2)) + 1 for b in self.blocks], axis=2) / 2

    @property
    def tested(self) -> list[int]:
        """The networks whose reports all test the ranks over the images."""
        return [k for k, block in enumerate(self.blocks) if all(self._tests[j] for j in block)]

    @property
    def _tests(self) -> list[Json | None]:
        return [r.summary.get("ranks", {}).get(self.column.quantity) for r in self.reports]

    def significant(self, titles: Sequence[str]) -> Array:
        """Where a title ranks better by the critical difference, (titles, titles, tested networks)."""
        ahead = np.zeros((len(titles), len(titles), len(self.reports)), bool)
        for k, test in enumerate(self._tests):
            if test is not None:
                ranks = np.array([test["methods"][title] for title in titles])
                ahead[:, :, k] = ranks - ranks[:, None] > test["critical_difference"]
        found = [ahead[:, :, self.blocks[k]].all(axis=2) for k in self.tested]
        return np.stack(found, axis=2) if found else ahead[:, :, :0]


def _replacements(reports: Sequence[Report], quantity: str) -> dict[str, list[str]]:
    """The reports by the replacement of pixels that they measure a quantity with; none without one."""
    found: dict[str, list[str]] = {}
    of_imputer = (c.quantity for m in METRICS.values() if m.by_imputer for c in m.columns)
    if quantity in of_imputer:
        for report in reports:
            for first in imputers_of(report.protocol)[:1]:
                found.setdefault(first, []).append(report.name)
    return found


def _same(reports: Sequence[Report], control: str, quantity: str) -> bool:
    """Whether a control has the values of the method whose map it shifts: the shift does not count."""
    pairs = ((r.value(control, quantity), r.value(SHIFTED_METHOD, quantity)) for r in reports)
    return control == MEAN_SHIFTED and all(one == other for one, other in pairs)


def _compared(table: _Table) -> dict[str, Any]:
    """Compares the methods by one quantity over the networks.

    In a network with several reports a method's ranks are averaged, and it beats another if it has the
    better value in more of the reports.

    Returns:
        `title` and `better` of the quantity; the number of `networks` and the `reports` with it;
        `methods`: the mean rank of each method, the best first; `p_value` of Friedman's test and
        Nemenyi's `critical_difference`, None for fewer than three methods or networks; `controls`;
        `wins`: for each method the number of networks where it beats each method and then each control,
        a tie counts half; `tested`: the number of networks whose reports all test the ranks over images;
        `significant`: the number of these networks where it beats each method and ranks better by the
        critical difference in every report; and `left_out` of `_Table`.
    """
    ranks = table.ranks(table.methods)
    mean = dict(zip(table.methods, ranks.mean(axis=1), strict=True))
    methods = sorted(table.methods, key=lambda title: (mean[title], title))
    count, networks = ranks.shape
    testable = count >= 3 and networks >= FEWEST
    wins = table.wins([*methods, *table.controls])
    beaten = wins[:count, :count, table.tested] == 1
    return {
        "title": replace(table.column, label=table.column.difference or table.column.label).title,
        "better": table.column.better,
        "networks": networks,
        "reports": [report.name for report in table.reports],
        "methods": {title: rounded(mean[title]) for title in methods},
        "p_value": rounded(friedman(ranks)) if testable else None,
        "critical_difference": rounded(critical_difference(count, networks)) if testable else None,
        "controls": table.controls,
        "wins": _rows(methods, wins.sum(axis=2)),
        "tested": len(table.tested),
        "significant": _rows(methods, (beaten & table.significant(methods)).sum(axis=2))
        if table.tested
        else {},
        "left_out": table.left_out,
    }


def _rows(methods: Sequence[str], counts: Array) -> dict[str, list[float | None]]:
    """The row of each method, None on the diagonal."""
    return {
        title: [
            None if j == k else int(n) if n % 1 == 0 else float(n) for j, n in enumerate(counts[k])
        ]
        for k, title in enumerate(methods)
    }


def _spread(tables: Mapping[str, _Table]) -> dict[str, Any] | None:
    """How much the order of the methods depends on the metric.

    Returns:
        `methods`: for each method that all quantities compare, the best first, its mean rank over the
        networks by each quantity, among these methods only (`ranks`), with `mean` and
        `standard_deviation`; and `kendall_w`, Kendall's coefficient of concordance of the quantities
        (Kendall and Babington Smith 1939), 1 if all give the same order. None for fewer than two
        quantities or three methods.
    """
    first = next(iter(tables.values()))
    common = [t for t in first.methods if all(t in table.methods for table in tables.values())]
    if len(tables) < 2 or len(common) < 3:
        return None
    means = np.stack([table.ranks(common).mean(axis=1) for table in tables.values()], axis=1)
    judged = ranked(means, "lower")
    equal = (judged == judged[0]).all()
    chi_square = np.nan if equal else stats.friedmanchisquare(*judged).statistic
    order = sorted(range(len(common)), key=lambda k: (means[k].mean(), common[k]))
    return {
        "methods": {
            common[k]: {
                "ranks": dict(zip(tables, map(rounded, means[k]), strict=True)),
                "mean": rounded(means[k].mean()),
                "standard_deviation": rounded(means[k].std(ddof=1)),
            }
            for k in order
        },
        "kendall_w": rounded(chi_square / (len(tables) * (len(common) - 1))),
    }
