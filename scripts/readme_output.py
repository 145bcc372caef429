"""Runs the README's commands and pastes what they print, or checks that the README still says it.

A block that this script keeps looks like this in README.md::

    <!-- output of: gasdet list -->
    ```console
    $ gasdet list
    ...
    ```

The comment names the command that is run; the first line in the block is what the reader types. What is pasted is the
command's standard output at 118 columns; ``first 12 lines of: gasdet list`` pastes no more than those, and "...".

    python scripts/readme_output.py --write     run and paste
    python scripts/readme_output.py --check     exit 1 and print a diff where the README and the output disagree

Numbers may differ by a little between processors and library versions: a decimal number agrees when it is within 0.02 of
the printed one; a duration and the hash in a run's name always agree; everything else must be equal.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"<!-- (?P<part>output|first (?P<lines>\d+) lines) of: (?P<command>.+?) -->\n"
    r"```console\n\$ (?P<shown>.+)\n(?P<output>(?:.*\n)*?)```\n"
)
DURATION = re.compile(r"\d+(?:\.\d+)? ?(?:ms|s|min)\b")
HASH = re.compile(r"-[0-9a-f]{8}\b")
DECIMAL = re.compile(r"-?\d*\.\d+")
TOLERANCE = 0.02
SCREEN = {"COLUMNS": "118", "NO_COLOR": "1"}


def sample_clip(folder: Path) -> None:
    """Put one synthetic demo clip of the test split at ``folder/clip.mp4``, for the commands that score a file."""
    import csv

    from gasdet.data.demo import ensure_demo

    root = ensure_demo()
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as table:
        rows = [r for r in csv.DictReader(table) if r["modality"] == "video" and r["split"] == "test"]
    row = next(r for r in rows if r["label"] == "synthetic" and r["path"].endswith(".mp4"))
    shutil.copyfile(root / row["path"], folder / "clip.mp4")


def run(command: str, folder: Path) -> str:
    """The command's standard output; a failure ends the script with what it said."""
    environment = {
        **os.environ,
        **SCREEN,
        "PATH": os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", ""))),
    }
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"$ {command}\nexited with {done.returncode}\n{done.stdout}{done.stderr}")
    return tidied(done.stdout)


def tidied(output: str) -> str:
    """Without blanks at the ends of lines, as the README has it."""
    return "\n".join(line.rstrip() for line in output.splitlines()) + "\n"


def beginning(output: str, lines: str | None) -> str:
    """The whole output, or its first lines and a line that says that there are more."""
    kept = output.splitlines()[: int(lines)] if lines else []
    return "\n".join([*kept, "...", ""]) if lines and len(kept) < output.count("\n") else output


def agrees(old: str, new: str) -> bool:
    """Whether two outputs are the same but for durations and small differences of decimal numbers."""
    old, new = (HASH.sub("-HASH", DURATION.sub("DURATION", text)) for text in (old, new))
    if DECIMAL.sub("NUMBER", re.sub(r" +", " ", old)) != DECIMAL.sub("NUMBER", re.sub(r" +", " ", new)):
        return False
    numbers = zip(DECIMAL.findall(old), DECIMAL.findall(new), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in numbers)


def renewed(text: str, runner: Callable[[str], str]) -> tuple[str, int, list[str]]:
    """The text with what its commands print now, how many blocks it has, and a report on each that disagreed."""
    stale: list[str] = []

    def paste(match: re.Match[str]) -> str:
        output = beginning(runner(match["command"]), match["lines"])
        if agrees(match["output"], output):
            return match[0]
        stale.append(f"$ {match['command']}\n--- README.md\n{match['output']}+++ now\n{output}")
        named = f"<!-- {match['part']} of: {match['command']} -->"
        return f"{named}\n```console\n$ {match['shown']}\n{output}```\n"

    pasted, found = BLOCK.subn(paste, text)
    return pasted, found, stale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true")
    mode.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    readme = REPOSITORY / "README.md"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample_clip(folder)
        text, found, stale = renewed(readme.read_text(encoding="utf-8"), lambda command: run(command, folder))
    if not found:
        sys.exit("README.md has no block that begins with '<!-- output of: ... -->'")
    if arguments.write:
        readme.write_text(text, encoding="utf-8")
        print(f"{found} blocks, {len(stale)} renewed")
    elif stale:
        sys.exit("README.md no longer says what the commands print (make readme renews it):\n\n" + "\n".join(stale))
    else:
        print(f"{found} blocks agree")


if __name__ == "__main__":
    main()
