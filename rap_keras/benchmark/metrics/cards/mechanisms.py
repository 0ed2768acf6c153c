"""The card of the mechanism tests, which all units share."""

from rap_keras.benchmark.metrics.cards.card import Card

CARDS = {
    "unit_passed": Card(
        measures="Whether a map has the direction of the relevance that is known by construction.",
        grounding="The network itself: its weights are set by hand, and its relevance follows from "
        "them.",
        assumptions="Where several maps could be called right, the Shapley value relative to zeros is: "
        "for example, both inputs of AND get half. Only the direction of the map counts, not its size.",
        gaming="The networks are public, so a rule can be made that is right on them and nowhere else.",
        failures="Nine networks of a few neurons do not show what a method does in a deep one. A method "
        "with another reference than zeros is marked down for it. The shortcut only shows that a map "
        "finds what the model uses, not that people see it.",
        source="In the style of Lee et al., XAI-Units, FAccT 2025 (our reading).",
    )
}
