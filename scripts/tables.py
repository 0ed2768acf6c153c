"""Writes the tables of docs/ that the code has once: docs/layers.md.

Example: python scripts/tables.py
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rap_keras.composites import lrp, rap
from rap_keras.rules import name_of

DOCS = Path(__file__).parents[1] / "docs"
INTRODUCTION = """\
# Layers

Every layer and operation of Keras that has a rule, and the rule that it gets, as the composites' tables
have it (`python scripts/tables.py` writes this page). Types that are treated alike by RAP, its variant
of the released code, `lrp.epsilon` and `lrp.alpha_1_beta_0` stand together. Names are those of
`keras.layers` and of `keras.ops` (as classes of operations). A layer that is not here is opened, if it
is made of such layers and operations ([how](rules.md#layers-made-of-layers)), or refused.

The first and the last linear layer may have rules of their own: `rap.first` and `rap.head` of RAP.
[What each layer gets](rules.md) says what the rules compute and why; the functions are in
[the interface](api/rules.rst). Methods without rules (class activation maps, occlusion, RISE, integrated
gradients) explain every layer that Keras can run and differentiate.
"""
COLUMNS: dict[str, Mapping[Any, Any]] = {
    "rap": rap.RAP,
    "rap:variant=released": rap.RAP_RELEASED,
    "lrp.epsilon": lrp.composite("epsilon", epsilon=1e-7, bias=True).rules,
    "lrp.alpha_1_beta_0": lrp.composite("alpha_beta", alpha=1, beta=0).rules,
}


def layers() -> str:
    """The page of layers."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(filter(_is_name, rap.RAP), key=lambda name: (name.lower(), name)):
        rules = (table.get(name) for table in COLUMNS.values())
        kinds.setdefault(tuple(name_of(r) if r else "refused" for r in rules), []).append(name)
    lines = [INTRODUCTION]
    for rules_of, names in sorted(kinds.items(), key=lambda item: -len(item[1])):
        lines.append(", ".join(f"`{name}`" for name in names) + ":\n")
        methods: dict[str, list[str]] = {}
        for method, rule in zip(COLUMNS, rules_of, strict=True):
            methods.setdefault(rule, []).append(method)
        lines += [
            f"- {'all' if len(methods) == 1 else ', '.join(those)}: `{rule}`"
            for rule, those in methods.items()
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _is_name(layer_type: Any) -> bool:
    return isinstance(layer_type, str)


def main() -> None:
    """Writes the page."""
    (DOCS / "layers.md").write_text(layers())


if __name__ == "__main__":
    main()
