"""What equalising leaves of a planted silence, over several seeds: the AUROC of an audit's model must stay near one half.

    python benchmarks/equalised_silence.py [--seeds 0 1 2] [--count 150] [--top 6000] [--workers 2]

The synthetic recordings begin with a quarter of a second of silence and more (``tests/planted.py``). All are equalised with the
standard profile, and the audit's model is fitted on the properties of what is left. The suite does the same with one seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """One line a seed: the model's AUROC with its interval, the worst verdict, and the property that separates best."""
    from tests.planted import SPEECH_TOP, planted

    from gasdet.data import load_data
    from gasdet.inspection.auditing import collect, sections
    from gasdet.types import Modality

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=150, help="recordings of each class")
    parser.add_argument("--top", type=int, default=SPEECH_TOP, help="highest frequency of the recordings, in Hz")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            samples = load_data(planted(Path(folder), "silence", options.count, seed, top=options.top)).samples
            collected = collect(samples, equalise={Modality.AUDIO: "standard"}, workers=options.workers)
        left = sections(collected)[Modality.AUDIO].overall
        model, best = left.model, left.properties[0]
        assert model.auroc is not None
        print(
            f"seed {seed}: {model.auroc:.3f} ({model.low:.3f}..{model.high:.3f}), {left.worst}; best {best.spec.name} "
            f"{best.figure.auroc:.3f}"
        )


if __name__ == "__main__":
    main()
