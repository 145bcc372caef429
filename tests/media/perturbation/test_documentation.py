"""docs/augmentation.md against the table of perturbations: every one, with its options, defaults, bounds and levels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gasdet.media.perturbation import PERTURBATIONS, Perturbation
from gasdet.media.perturbation.options import Choice, Number, Option, Switch

GROUPS = {
    "Places": ("hflip", "vflip", "random_crop", "random_resized_crop", "crop", "affine"),
    "Colours": ("brightness", "contrast", "colour_jitter", "patch_mask"),
    "Compression": ("jpeg", "webp", "h264"),
    "Blur, noise, resizing, lost frames": (
        "gaussian_blur",
        "gaussian_noise",
        "resize_chain",
        "frame_freeze",
        "gasbench",
    ),
    "DeeperForensics-1.0": ("df_cs", "df_cc", "df_bw", "df_gnc", "df_gb", "df_jpeg", "df_vc"),
    "Recordings": (
        *("gain", "noise", "codec", "mp3", "aac", "opus", "g711"),
        *("resample", "band_pass", "time_shift", "rawboost"),
    ),
}
HEADER = ("| name | for | option | default | allowed | levels 1 to 5 |", "|---|---|---|---|---|---|")


def shown(value: Any) -> str:
    """A value as a recipe's YAML has it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value if isinstance(value, str) else f"{value:.4g}"


def allowed(option: Option) -> str:
    if isinstance(option, Number):
        return f"{option.low:g} to {option.high:g}{', whole' if option.whole else ''}"
    if isinstance(option, Choice):
        return " ".join(option.choices)
    return "true, false" if isinstance(option, Switch) else "a side, [height, width], null"


def rows(perturbation: Perturbation) -> list[str]:
    """The table rows of one perturbation, the first with its name."""
    heads = [f"| `{perturbation.name}` | {', '.join(m.value for m in perturbation.modalities)} "]
    made = []
    for name, option in perturbation.options.items():
        default = shown(option.default)
        if name in perturbation.levels and perturbation.default_level:
            default = f"level {shown(perturbation.default_level)}"
        levels = " ".join(map(shown, perturbation.levels.get(name, ())))
        made.append(f"| `{name}`: {option.meaning} | {default} | {allowed(option)} | {levels} |")
    heads += ["| | "] * (len(made) - 1)
    return [head + row for head, row in zip(heads, made or ["| | | | |"], strict=True)]


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "augmentation.md").read_text(encoding="utf-8")


def test_every_perturbation_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(PERTURBATIONS)


@pytest.mark.parametrize("group", GROUPS)
def test_tables_are_those_of_the_code(group: str, text: str) -> None:
    section = text.split(f"### {group}\n")[1].split("\n#")[0]
    found = tuple(line for line in section.splitlines() if line.startswith("|"))
    expected = (*HEADER, *(row for name in GROUPS[group] for row in rows(PERTURBATIONS[name])))
    assert found == expected


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_is_described_in_words(name: str, text: str) -> None:
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    assert re.search(rf"`{name}`", prose)


def test_the_example_is_a_valid_augmentation(text: str) -> None:
    import yaml

    from gasdet.training.augmentation import check_augmentation

    for modality, block in re.findall(r"```yaml\n# for (\w+)\n(.*?)```", text, re.DOTALL):
        assert check_augmentation(yaml.safe_load(block)["augmentation"], modality)
    assert text.count("```yaml\n# for ") >= 2
