"""Ray in this process, without processes."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np


class Rows:
    """Ray's data in this process: one worker, chunk after chunk."""

    def __init__(self, rows):
        self.rows = rows

    def map_batches(self, make, fn_constructor_args, **options):
        worker = make(*fn_constructor_args)
        answers = [worker({"chunk": np.array([row["chunk"]])}) for row in self.rows]
        return Rows([{name: found[0] for name, found in answer.items()} for answer in answers])

    def iter_rows(self):
        return iter(self.rows)


class Lost(Exception):
    """A worker that Ray has lost."""


def ray_in_this_process(monkeypatch):
    """Modules in the place of Ray's that start no processes; what they were asked to start."""
    ray, data, asked = ModuleType("ray"), ModuleType("ray.data"), []
    ray.data, ray.init, ray.shutdown = data, lambda **options: asked.append(options), lambda: None
    ray.cluster_resources = lambda: {"CPU": 2.0}
    ray.exceptions = SimpleNamespace(RayActorError=Lost, RaySystemError=Lost)
    data.DataContext = SimpleNamespace(get_current=SimpleNamespace)
    data.ActorPoolStrategy = SimpleNamespace
    data.from_items = lambda rows, override_num_blocks: Rows(rows)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    return asked
