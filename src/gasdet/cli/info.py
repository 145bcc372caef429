"""``gasdet info NAME``: everything known about one detector or component."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import click

from gasdet.bundle.weights import weights_folder, weights_state
from gasdet.cli import text
from gasdet.errors import GasdetError, UsageError
from gasdet.registry import COMPONENT_KINDS, Registered, Registry, load_registry
from gasdet.types import ComponentKind, ComponentSpec, DetectorSpec, Preprocessing, WeightsSpec


@click.command("info")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(name: str, as_json: bool) -> None:
    """Show everything known about one detector or component.

    NAME is a detector, a preprocessor, loss, calibrator or metric, or plugin/name where two plugins use one name.
    """
    registry = load_registry()
    components = _components(registry, name)
    blocks: list[tuple[dict[str, Any], list[str]]] = []
    columns = text.width()
    try:
        detector = registry.detector(name)
        blocks.append((_detector_json(detector), _detector_lines(detector, columns)))
    except UsageError:
        if not components:
            raise _unknown(registry, name) from None
    blocks += [(_component_json(kind, entry), _component_lines(kind, entry, columns)) for kind, entry in components]
    if as_json:
        text.echo_json(blocks[0][0] if len(blocks) == 1 else [document for document, _ in blocks])
    else:
        click.echo("\n\n".join("\n".join(lines) for _, lines in blocks))


def _unknown(registry: Registry, name: str) -> UsageError:
    detectors = [entry.spec.name for entry in registry.detectors()]
    others = [entry.spec.name for kind in COMPONENT_KINDS for entry in registry.components(kind)]
    nearest = difflib.get_close_matches(name, [*detectors, *others], n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return UsageError(
        f"no detector or component is called {name!r}{hint}; 'gasdet list' and 'gasdet list --hooks' show what is installed."
    )


def _components(registry: Registry, name: str) -> list[tuple[ComponentKind, Registered[ComponentSpec]]]:
    """The components of that name, of any kind."""
    found: list[tuple[ComponentKind, Registered[ComponentSpec]]] = []
    for kind in COMPONENT_KINDS:
        bare = name.rpartition("/")[2]
        if any(entry.spec.name == bare for entry in registry.components(kind)):
            found.append((kind, registry.component(kind, name)))
    return found


def _detector_json(entry: Registered[DetectorSpec]) -> dict[str, Any]:
    spec = dataclasses.asdict(entry.spec)
    spec["preprocessing"] = Preprocessing.from_mapping(entry.spec.modality, entry.spec.preprocessing).to_mapping()
    states = {state.name: dataclasses.asdict(state) for state in weights_state(entry.spec)}
    spec["weights"] = [{**weights, **states[weights["name"]]} for weights in spec["weights"]]
    if entry.spec.recipe:
        spec["training"] = _recipe_json(entry.spec)
    return {"kind": "detector", **spec, "plugin": dataclasses.asdict(entry.plugin)}


def _component_json(kind: str, entry: Registered[ComponentSpec]) -> dict[str, Any]:
    return {"kind": kind, **dataclasses.asdict(entry.spec), "plugin": dataclasses.asdict(entry.plugin)}


def _detector_lines(entry: Registered[DetectorSpec], columns: int | None) -> list[str]:
    spec = entry.spec
    title = f"{spec.name}: {spec.summary}" if spec.summary else spec.name
    preprocessing = Preprocessing.from_mapping(spec.modality, spec.preprocessing).to_mapping()
    lines = [*(text.heading(line) for line in text.paragraph(title, columns)), ""]
    lines += text.facts(
        [
            ("modality", str(spec.modality)),
            ("paper", spec.paper),
            ("", spec.paper_url),
            ("input", spec.input),
            ("parameters", f"{spec.parameters:,}" if spec.parameters else ""),
            ("preprocessing", _mapping(preprocessing)),
            ("model", _mapping(spec.model)),
            ("training data", spec.training_data),
            ("plugin", f"{entry.plugin.name}, from {entry.plugin.origin}"),
            ("module", spec.target),
            ("recipe", spec.recipe or "none: it cannot be trained here"),
            ("code licence", spec.code_licence or "not stated"),
            *(("note", note) for note in (*spec.notes, *entry.plugin.notes)),
        ],
        columns,
    )
    lines += _weights_lines(spec, columns)
    lines += _recipe_lines(spec, columns)
    for backbone in spec.backbones:
        lines += ["", *text.paragraph(backbone.name, columns, "backbone  ")]
        lines += text.facts(
            [
                ("  source", backbone.source),
                ("  licence", backbone.licence),
                ("  parameters", f"{backbone.parameters:,}" if backbone.parameters else ""),
                ("  sha256", backbone.sha256 or "not stated by its publisher"),
                ("  note", backbone.notes),
            ],
            columns,
        )
    return lines


_ALWAYS = ("trainable", "losses", "optimiser", "learning_rate", "schedule", "batch_size", "epochs", "selection")
"""Fields of a recipe that are shown even where they have their defaults."""


def _recipe_json(spec: DetectorSpec) -> dict[str, Any]:
    """Every field of the recipe, or why it cannot be shown."""
    from gasdet.training.building import recipe_of

    try:
        recipe = recipe_of(spec)
    except GasdetError as error:
        return {"error": str(error)}
    return {**recipe.to_mapping(), "demo": dict(recipe.demo), "reference": recipe.reference}


def _recipe_lines(spec: DetectorSpec, columns: int | None) -> list[str]:
    """How the detector is trained: the fields that --set changes, as far as they tell something."""
    if not spec.recipe:
        return []
    told = _recipe_json(spec)
    if "error" in told:
        return ["", "training", *text.facts([("  broken", told["error"])], columns)]
    from gasdet.training.recipe import Recipe

    defaults = Recipe(builder="a:b", head=("a",)).to_mapping()
    reference = told.pop("reference")
    fields = {
        k: v for k, v in told.items() if k in _ALWAYS or (v != defaults.get(k) and k not in ("builder", "stages"))
    }
    rows = [(f"  {name}", _value(value)) for name, value in fields.items() if name != "demo"]
    rows += [(f"  stage {number}", _value(stage)) for number, stage in enumerate(told["stages"])]
    rows += [("  on demo data", _value(told["demo"])), ("  source", reference)]
    head = f"training  gasdet train --plugin {spec.name}; change fields with --set FIELD=VALUE"
    return ["", *text.paragraph(head, columns), *text.facts(rows, columns, label_width=20)]


def _value(value: Any) -> str:
    """A recipe's value as one would write it in YAML, on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_nested(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_nested(inner) for inner in value)
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _nested(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{_value(value)}}}"
    return f"[{_value(value)}]" if isinstance(value, list | tuple) else _value(value)


def _weights_lines(spec: DetectorSpec, columns: int | None) -> list[str]:
    if not spec.weights:
        return ["", "weights   none: pass your own file with --weights PATH"]
    lines: list[str] = []
    default = next((w.name for w in spec.weights if w.kind == "release"), "")
    for weights, state in zip(spec.weights, weights_state(spec), strict=True):
        words = [weights.kind if weights.kind != weights.name else "", "default" if weights.name == default else ""]
        about = f" ({', '.join(w for w in words if w)})" if any(words) else ""
        lines += ["", f"weights   {weights.name}{about}"]
        lines += text.facts(
            [
                ("  at hand", f"yes: {state.where}" if state.available else _how_to_get(spec, weights)),
                ("  source", weights.source),
                ("  sha256", weights.sha256),
                ("  size", f"{weights.size_bytes / 1e6:.1f} MB" if weights.size_bytes else ""),
                ("  licence", weights.licence or "not stated"),
                ("  training data", weights.training_data),
                ("  model", _mapping(weights.model)),
                ("  preprocessing", _mapping(weights.preprocessing)),
                ("  note", weights.notes),
            ],
            columns,
        )
    return lines


def _how_to_get(spec: DetectorSpec, weights: WeightsSpec) -> str:
    if weights.source.startswith("package:"):
        return "no: the plugin's package does not hold the file; reinstall it"
    return f"no: fetched when first used; or put the file into {weights_folder(spec, weights)}"


def _component_lines(kind: str, entry: Registered[ComponentSpec], columns: int | None) -> list[str]:
    spec = entry.spec
    better = {True: "higher", False: "lower", None: ""}[spec.higher_is_better]
    return [
        *(text.heading(line) for line in text.paragraph(f"{spec.name}: {spec.summary}", columns)),
        "",
        *text.facts(
            [
                ("kind", kind),
                ("better", better),
                ("reference", spec.reference),
                ("options", _mapping(spec.options)),
                ("target", spec.target),
                ("plugin", f"{entry.plugin.name}, from {entry.plugin.origin}"),
            ],
            columns,
        ),
    ]


def _mapping(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items())
