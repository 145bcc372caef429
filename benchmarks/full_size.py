"""The detectors in their full size with RANDOM weights: time and memory of one input. Nothing here says how well they detect.

    python benchmarks/full_size.py --media DIR [--variant NAME]... [--repeat N] [--threads N] [--limit-gib G]

DIR holds media below ``image``, ``video`` and ``audio``; the first file of the modality that decodes is taken, as the
detector's preprocessing wants it. Each variant runs in a process of its own, so that its peak is its own: the resident memory
of the whole process, libraries, weights and decoding included. What is done once (caches, position codes) is in the first
forward pass; of the later ones the fastest is shown. A variant that needs more than ``--limit-gib`` makes the exit code 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT_GIB = 6.0
SIZES = {"S": "small", "S+": "small_plus", "B": "base", "L": "large"}


@dataclass(frozen=True)
class Variant:
    """A detector in one size.

    Attributes:
        detector: Its registered name.
        make: The untrained module of the plugin's model.py.
        preprocessing: Keys over the detector's own.
    """

    detector: str
    make: Callable[[Any], Any]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def dinov3(size: str) -> Callable[[Any], Any]:
    return lambda model: model.DINOv3(model.named_architecture(f"vit_{SIZES[size]}_patch16_dinov3"))


VARIANTS = {
    "npr": Variant("npr", lambda model: model.NPR()),
    "restrav, DINOv2-S, 24 frames": Variant("restrav", lambda model: model.ReStraV()),
    "dinov3-S": Variant("dinov3", dinov3("S")),
    "dinov3-B": Variant("dinov3", dinov3("B")),
    "dinov3-L": Variant("dinov3", dinov3("L")),
    "gend, CLIP-L, 16 frames": Variant("gend", lambda model: model.GenD("clip"), {"num_frames": 16}),
    "gend-image, CLIP-L": Variant("gend-image", lambda model: model.GenD("clip", temporal=False)),
    "breathnet, XLS-R 300M": Variant("breathnet", lambda model: model.BreathNet()),
}


def measure(name: str, media: Path, repeat: int) -> dict[str, Any]:
    """One variant, in this process.

    Returns:
        What ran on what, in seconds and MiB.
    """
    import numpy as np
    import torch

    from gasdet.registry import load_registry
    from gasdet.types import Preprocessing

    variant = VARIANTS[name]
    spec = load_registry().detector(variant.detector).spec
    preprocessing = Preprocessing.from_mapping(spec.modality, {**spec.preprocessing, **variant.preprocessing})
    file, array = first_decoded(media / spec.modality.value, preprocessing)
    torch.manual_seed(0)
    module = drawn(variant.make(importlib.import_module(spec.target))).eval()
    batch = torch.from_numpy(np.ascontiguousarray(array[None])).float()
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + repeat):
            begun = time.perf_counter()
            logits = module(batch)
            seconds.append(time.perf_counter() - begun)
    if logits.shape != (1, 2) or not torch.isfinite(logits).all():
        sys.exit(f"{name} gives {logits.tolist()} on {file}, which are no logits of two classes.")
    return {
        "file": file.name,
        "input": list(batch.shape),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "first": seconds[0],
        "fastest": min(seconds[1:], default=seconds[0]),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,  # Linux tells it in KiB
    }


def drawn(module: Any) -> Any:
    """A module with random numbers where it waits for a file's (on the meta device), scales near 1."""
    import torch

    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if not tensor.is_meta:
            continue
        parent, _, own = name.rpartition(".")
        values = torch.randn(tensor.shape, dtype=tensor.dtype) * 0.02 + (tensor.dim() == 1 and own != "bias")
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        setattr(module.get_submodule(parent), own, torch.nn.Parameter(values) if is_parameter else values)
    return module


def first_decoded(folder: Path, preprocessing: Any) -> tuple[Path, Any]:
    """The first file of a folder that decodes, and its array."""
    from gasdet.errors import MediaError
    from gasdet.media import decode

    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            return file, decode(file, preprocessing).array
        except MediaError:
            continue
    sys.exit(f"{folder} holds no file that can be decoded as {preprocessing.modality}; give another --media.")


def in_own_process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--media",
        str(arguments.media),
        "--repeat",
        str(arguments.repeat),
    ]
    threads = str(arguments.threads)
    done = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, metavar="DIR")
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--repeat", type=int, default=2, help="forward passes after the first (2)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the model (2)")
    parser.add_argument(
        "--limit-gib", type=float, default=LIMIT_GIB, help=f"most memory of one process ({LIMIT_GIB:g})"
    )
    parser.add_argument("--one", choices=list(VARIANTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.media, arguments.repeat)))
        return
    print("Random weights: time and memory only.\n")
    print("| variant | parameters | input | first pass | later passes | peak memory |")
    print("|---|---|---|---|---|---|")
    too_large = []
    for name in arguments.variant or list(VARIANTS):
        found = in_own_process(name, arguments)
        shape = "x".join(map(str, found["input"]))
        print(
            f"| {name} | {found['parameters']:,} | {shape} ({found['file']}) | {found['first']:.2f} s | "
            f"{found['fastest']:.2f} s | {found['memory']:,.0f} MiB |",
            flush=True,
        )
        if found["memory"] > arguments.limit_gib * 2**10:
            too_large.append(name)
    if too_large:
        sys.exit(f"more than {arguments.limit_gib:g} GiB: {', '.join(too_large)}")


if __name__ == "__main__":
    main()
