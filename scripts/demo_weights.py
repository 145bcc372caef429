"""Trains the demo weights of plugins anew: `gasdet train` on the demo data, and the file into the plugin's package.

    python scripts/demo_weights.py [DETECTOR ...]

Without names: every detector in plugins/ that has demo weights and a recipe. The sha256 and size in the plugin's
WeightsSpec are renewed with the file. On the machine that the shipped files were made on, nothing changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> None:
    from gasdet.registry import load_registry

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*")
    wanted = parser.parse_args().detectors
    for registered in load_registry().detectors():
        spec = registered.spec
        demo = next((w for w in spec.weights if w.kind == "demo" and w.source.startswith("package:")), None)
        if (wanted and spec.name not in wanted) or demo is None or not spec.recipe:
            continue
        package = Path(str(files(spec.target.rpartition(".")[0])))
        if not package.is_relative_to(REPOSITORY):
            print(f"{spec.name}: left as it is, {package} is not part of this checkout")
            continue
        with tempfile.TemporaryDirectory() as folder:
            gasdet = str(Path(sysconfig.get_path("scripts")) / "gasdet")
            command = [gasdet, "train", "--plugin", spec.name, "--data", "demo", "--device", "cpu", "--out", folder]
            print("$", *command, flush=True)
            if subprocess.run(command, env=os.environ, check=False).returncode:
                sys.exit(f"{spec.name}: the training failed")
            trained = Path(folder, "model.safetensors")
            digest, size = hashlib.sha256(trained.read_bytes()).hexdigest(), trained.stat().st_size
            shutil.copyfile(trained, package / demo.source.removeprefix("package:"))
        if digest == demo.sha256:
            print(f"{spec.name}: the same file as before, sha256 {digest}")
            continue
        plugin = package / "plugin.py"
        text = plugin.read_text(encoding="utf-8")
        if demo.sha256 not in text:
            sys.exit(f"{plugin} does not state the old sha256 {demo.sha256}; put in {digest} by hand")
        text = text.replace(demo.sha256, digest)
        if demo.size_bytes != size:
            stated = {f"size_bytes={demo.size_bytes}", f"size_bytes={demo.size_bytes:_}"} & set(
                re.findall(r"size_bytes=[\d_]+", text)
            )
            if len(stated) != 1:
                sys.exit(f"{plugin} does not state the old size {demo.size_bytes}; put in {size} by hand")
            text = text.replace(stated.pop(), f"size_bytes={size:_}")
        plugin.write_text(text, encoding="utf-8")
        print(f"{spec.name}: new file of {size} bytes, sha256 {digest} (was {demo.sha256})")


if __name__ == "__main__":
    main()
