"""Runs a bundle's model.py in a process of its own, in which gasdet cannot be imported. A script.

    python -I clean_process.py REQUEST.json

The request names the code, load_model's arguments, the packages that must not be imported, folders with installed packages that
``-I`` leaves out, the number of threads, and what to load one after the other: a weights file, the dtype that the module is
moved to, and runs. A run is an array of input, the dtype that ``forward`` gets it in, where the logits go, and whether it may
fail.
"""

import importlib.abc
import importlib.util
import json
import site
import sys
from collections.abc import Mapping, Sequence
from typing import Any


class Absent(importlib.abc.MetaPathFinder):
    """Makes packages unknown to this process, wherever they are installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Raise for the packages; None, which asks the next finder, for everything else."""
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {fullname!r}: a bundle runs without it", name=fullname)


def main() -> None:
    """Make the packages unknown, do what the request says, and see that they were not imported."""
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    sys.dont_write_bytecode = True  # a bundle gets no __pycache__
    for name in [name for name in sys.modules if name.partition(".")[0] in request["absent"]]:
        del sys.modules[name]
    sys.meta_path.insert(0, Absent(request["absent"]))
    for folder in request["site_folders"]:
        if folder not in sys.path:
            site.addsitedir(folder)  # behind what is there
    answer(request)
    present = sorted(name for name in sys.modules if name.partition(".")[0] in request["absent"])
    if present:
        sys.exit(f"model.py imported {', '.join(present)}")


def answer(request: Mapping[str, Any]) -> None:
    """Write the logits that the request asks for."""
    import numpy as np
    import torch

    torch.set_num_threads(request["threads"])
    load_model = _code(request["code"]).load_model
    for load in request["loads"]:
        model = load_model(load["weights"], **request["kwargs"]).eval().to(getattr(torch, load["dtype"]))
        for run in load["runs"]:
            given = torch.from_numpy(np.load(run["input"], allow_pickle=False))
            try:
                with torch.inference_mode():
                    logits = _logits(model(given.to(getattr(torch, run["dtype"]))))
            except Exception:
                if not run["optional"]:
                    raise
                continue
            np.save(run["output"], logits.detach().float().numpy(), allow_pickle=False)
        del model  # before the next one is loaded


def _code(code: str) -> Any:
    spec = importlib.util.spec_from_file_location("model", code)
    assert spec is not None  # because the file's name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    spec.loader.exec_module(module)
    return module


def _logits(output: Any) -> Any:
    """What gasdet.bundle.outputs reads from an output, which cannot be imported here."""
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, tuple):
        return output[0]
    if isinstance(output, Mapping):
        return next((output[key] for key in ("logits", "output") if key in output), next(iter(output.values())))
    return output


if __name__ == "__main__":
    main()
