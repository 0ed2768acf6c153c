"""The report of a benchmark."""

from rap_keras.benchmark.report.numbers import format_estimate
from rap_keras.benchmark.report.report import write_report
from rap_keras.benchmark.report.tables import summary_lines

__all__ = ["format_estimate", "summary_lines", "write_report"]
