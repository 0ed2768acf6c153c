"""The report of a benchmark."""

from rap_keras.benchmark.reporting.numbers import format_estimate
from rap_keras.benchmark.reporting.report import write_report
from rap_keras.benchmark.reporting.tables import summary_lines

__all__ = ["format_estimate", "summary_lines", "write_report"]
