"""Write the pages of docs/ that come from tables of the code: docs/layers.md.

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

This page lists every layer and operation of Keras that has a rule, and its rule in RAP, in RAP's
released variant, in `lrp.epsilon` and in `lrp.alpha_1_beta_0`. Layers with the same rules share a
section. Names are those of `keras.layers` and of `keras.ops` (as classes of operations). A layer that is
not listed is opened if it consists of such layers and operations
([how](rules.md#layers-made-of-layers)). Otherwise it raises an error.

The first and the last linear layer can have different rules: RAP uses `rap.first` and `rap.head`. [What
each layer gets](rules.md) explains what the rules compute and why. The [API reference](api/rules.rst)
documents the functions. Methods without rules (class activation maps, occlusion, RISE, integrated
gradients) explain every layer that Keras can run and differentiate.

`python scripts/tables.py` writes this page from the code.
"""
COLUMNS: dict[str, Mapping[Any, Any]] = {
    "rap": rap.RAP,
    "rap:variant=released": rap.RAP_RELEASED,
    "lrp.epsilon": lrp.composite("epsilon", epsilon=1e-7, bias=True).rules,
    "lrp.alpha_1_beta_0": lrp.composite("alpha_beta", alpha=1, beta=0).rules,
}


def layers() -> str:
    """Return the text of docs/layers.md."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(filter(_is_name, rap.RAP), key=lambda name: (name.lower(), name)):
        rules = (table.get(name) for table in COLUMNS.values())
        kinds.setdefault(tuple(name_of(r) if r else "rejected" for r in rules), []).append(name)
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
    """Write the page."""
    (DOCS / "layers.md").write_text(layers())


if __name__ == "__main__":
    main()
