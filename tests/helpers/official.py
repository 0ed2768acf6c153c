"""Outputs of the authors' released code, as optional local data."""

import json

import numpy as np

from helpers.shared_data import fixture_files

FILES = fixture_files("rap_official/*.npz")


def expected_by_tensor(data):
    """Relevance of each tensor: the fixture has it for each consumer of it."""
    nodes = json.loads(str(data["arch"]))["nodes"]
    total: dict[str, np.ndarray] = {}
    for node in nodes:
        sources = node.get("inputs", [])
        for k, source in enumerate(sources):
            key = f"rel64/{node['name']}" + (f"/{k}" if len(sources) > 1 else "")
            total[source] = total.get(source, 0) + data[key]
    return total, any(node["type"] == "Add" for node in nodes)
