from __future__ import annotations

from pathlib import Path

from gasdet.data.demo.plan import PARTS, SPLITS


def test_the_tables_in_the_documentation_are_those_of_the_code(repository: Path) -> None:
    lines = (repository / "docs" / "demo-data.md").read_text(encoding="utf-8").splitlines()
    expected = []
    for modality, part in PARTS.items():
        for device in part.devices:
            expected.append(f"| {modality} | {device.name} | {device.summary} | {splits(device.held_back)} |")
        for g in part.generators:
            strengths = f"{g.strengths[0]:g} to {g.strengths[1]:g}"
            expected.append(
                f"| {modality} | {g.name} | {g.summary} | {g.difficulty} | {strengths} | {splits(g.held_back)} |"
            )
    for modality, word in (("image", "images"), ("video", "clips"), ("audio", "recordings")):
        counts = " | ".join(str(2 * n) for n in PARTS[modality].scenes)
        expected.append(f"| {word} | {counts} |")
    assert f"| | {' | '.join(SPLITS)} |" in lines
    files = [2 * sum(part.scenes) for part in PARTS.values()]
    counted = f"{sum(files):,} small files itself ({files[0]} images, {files[1]} clips, {files[2]} recordings"
    assert counted in "\n".join(lines)
    assert [row for row in expected if row not in lines] == []
    told = [line for line in lines if line.startswith(("| image |", "| video |", "| audio |"))]
    assert len(told) == len(expected) - 3


def splits(held_back: bool) -> str:
    return "test only" if held_back else "all"
