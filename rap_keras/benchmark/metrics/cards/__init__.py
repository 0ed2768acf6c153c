"""The evaluation cards of the metrics. They are on the page docs/metrics.md."""

from rap_keras.benchmark.metrics.cards import decision, location, maps
from rap_keras.benchmark.metrics.cards.card import Card

CARDS: dict[str, Card] = {**location.CARDS, **decision.CARDS, **maps.CARDS}
"""The cards by the names of their metrics."""


def card_of(name: str) -> Card | None:
    """The card of a metric, if it has one: that of "srg" for "srg@blur"; mechanism tests share one."""
    return CARDS.get("unit_passed" if name.startswith("unit_") else name.partition("@")[0])


__all__ = ["CARDS", "Card", "card_of"]
