"""The record of an evaluation card."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Card:
    """What to know about a metric before its numbers are believed.

    After Gipiškis and Kurasova, "Evaluation cards for XAI metrics", 2026, arXiv 2605.04410, whose cards
    cover target properties, grounding, assumptions, validation, gaming risks and failure cases. The
    wording of the entries is our reading.
    """

    measures: str  # the property of a map
    grounding: str  # what it compares the map to
    assumptions: str  # what must hold for the number to mean this property
    gaming: str  # how a map gets a good number without the property
    failures: str  # where its number misleads
    source: str
