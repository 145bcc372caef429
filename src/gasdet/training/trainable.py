"""What of a module is trained: its head, its LayerNorms too, low-rank adapters too, or all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gasdet.errors import PluginError, UsageError
from gasdet.training.optimisation import ParameterGroup, parameter_groups
from gasdet.training.recipe import Recipe

LORA_DEFAULTS = {
    "rank": 8,
    "dropout": 0.0,
    "targets": r".*attn\.(qkv|q_proj|k_proj|v_proj|proj|out_proj)",
}
"""Of ``Recipe.lora``; ``alpha`` is twice the rank unless it is given."""


class ModelCaller(nn.Module):
    """A module with one ``forward`` for all that a training calls, so that it can be wrapped for several processes.

    Attributes:
        module: The recipe's module.
        kept: Names of the outputs that are differentiated, the others being detached; None for all.
    """

    def __init__(
        self, module: nn.Module, *, from_features: bool, with_embeddings: bool = False, with_outputs: bool = False
    ) -> None:
        """Choose the method: ``forward`` or ``classify``, alone, with embeddings, or with all outputs.

        Args:
            module: A recipe's module.
            from_features: Whether the inputs are features.
            with_embeddings: Whether embeddings are asked for. A module that offers all outputs only is asked for these.
            with_outputs: Whether all outputs are asked for; embeddings are then among them.

        Raises:
            PluginError: The module does not offer the method.
        """
        super().__init__()
        self.module = module
        self.kept: frozenset[str] | None = None
        plain = "classify" if from_features else "forward"
        name, self._gives = plain, "logits"
        if with_outputs or (with_embeddings and not hasattr(module, f"{plain}_with_embeddings")):
            name, self._gives = f"{plain}_with_outputs", "outputs"
        elif with_embeddings:
            name, self._gives = f"{plain}_with_embeddings", "embeddings"
        if not hasattr(module, name):
            name = f"{plain}_with_embeddings" if with_embeddings and not with_outputs else name
            raise PluginError(f"the model ({type(module).__name__}) offers no {name}, which this training needs.")
        self._required = {"logits", "embeddings"} if with_embeddings else {"logits"}
        # not module.forward, which would leave out hooks
        self._method: Callable[..., Any] = module.__call__ if name == "forward" else getattr(module, name)

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        """What the module gives, by name: ``logits``, ``embeddings`` where they are asked for, or all of its outputs.

        Raises:
            PluginError: ``forward_with_outputs`` gives no logits, or no embeddings where they are asked for.
        """
        if self._gives == "logits":
            return {"logits": self._method(inputs)}
        if self._gives == "embeddings":
            logits, embeddings = self._method(inputs)
            return {"logits": logits, "embeddings": embeddings}
        outputs: dict[str, Tensor] = self._method(inputs, targets)
        if missing := self._required - set(outputs):
            raise PluginError(
                f"the outputs of the model ({type(self.module).__name__}) have no {' and no '.join(sorted(missing))}, which "
                f"this training needs; they have {', '.join(sorted(outputs))}."
            )
        if self.kept is None:
            return outputs
        return {name: value if name in self.kept else value.detach() for name, value in outputs.items()}


def make_trainable(module: nn.Module, recipe: Recipe) -> tuple[nn.Module, list[ParameterGroup]]:
    """Set which parameters are trained, put low-rank adapters in, and sort them for the optimiser.

    The module is changed in place: it keeps its methods, and with ``trainable="lora"`` its adapted Linear layers are
    replaced until ``merge``. Only Linear layers outside of the head are adapted: a convolution that happens to match the
    expression, such as a patch embedding's ``proj``, never is.

    Args:
        module: As the recipe's builder gave it.
        recipe: With ``trainable``, ``head``, ``lora``, the learning rates and the weight decay.

    Returns:
        The module, and groups for ``make_optimiser``: the head at ``head_learning_rate``, the rest at ``learning_rate``.

    Raises:
        PluginError: The module has no head under the recipe's names.
        UsageError: Nothing matches: there is no LayerNorm, or no Linear layer of the expression's names.
    """
    module.requires_grad_(False)
    check_trainable(module, recipe)
    if recipe.trainable == "lora":
        _inject_adapters(module, recipe)
    wanted = _wanted_names(module, recipe)
    head: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if name in wanted:
            parameter.requires_grad_(True)
            (head if name.startswith(recipe.head) else rest).append(parameter)
    head_rate = recipe.learning_rate if recipe.head_learning_rate is None else recipe.head_learning_rate
    groups = [
        *parameter_groups(head, head_rate, recipe.weight_decay),
        *parameter_groups(rest, recipe.learning_rate, recipe.weight_decay),
    ]
    if not groups:
        raise PluginError("the model has no floating-point parameters that could be trained.")
    return module, groups


def check_trainable(module: nn.Module, recipe: Recipe) -> None:
    """See that ``make_trainable`` will find something to train, without a change to the module.

    Raises:
        PluginError: The module has no head under the recipe's names.
        UsageError: There is no LayerNorm, no Linear layer of the expression's names, or an adapter would be on a layer that the
            module calls not adaptable.
    """
    if recipe.trainable == "lora":
        _adapted_layers(module, recipe)
    wanted = _wanted_names(module, recipe)
    if not any(name.startswith(recipe.head) for name in wanted) and recipe.trainable != "all":
        raise PluginError(
            f"the model has no parameters of a head under {', '.join(recipe.head)}, which its recipe names."
        )


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """How much of a model a stage trains.

    Attributes:
        trained: Numbers that the optimiser changes; of low-rank adapters, theirs and not those of the layers that they are on.
        of: All parameters of the model, without adapters.
        trainable: Which part of it that is, as the recipe calls it.
    """

    trained: int
    of: int
    trainable: str

    def __str__(self) -> str:
        return f"trains {self.trained:,} of {self.of:,} parameters ({self.trainable})"


def parameter_counts(module: nn.Module, recipe: Recipe) -> ParameterCounts:
    """What ``make_trainable`` will make trainable, without a change to the module.

    Args:
        module: As the recipe's builder gave it, or as the stage before left it.
        recipe: Of the stage.

    Raises:
        UsageError: Nothing matches, as in ``check_trainable``.
        PluginError: The module's ``not_adaptable`` is no mapping.
    """
    wanted = _wanted_names(module, recipe)
    trained = sum(p.numel() for name, p in module.named_parameters() if name in wanted)
    if recipe.trainable == "lora":
        rank = int({**LORA_DEFAULTS, **recipe.lora}["rank"])
        for name in _adapted_layers(module, recipe):
            trained += rank * sum(module.get_parameter(f"{name}.weight").shape)  # A is [rank, in], B is [out, rank]
    return ParameterCounts(trained, sum(p.numel() for p in module.parameters()), recipe.trainable)


def set_training_mode(module: nn.Module, recipe: Recipe) -> None:
    """Training mode for what is trained; frozen parts stay in eval mode: no dropout in them, and no drift of BatchNorm.

    A reward stage tunes the decisions that the model will make, so that all of it is in eval mode: with BatchNorm's running
    statistics and without dropout, as its reference is.
    """
    if recipe.kind == "reward":
        module.eval()
        return
    if recipe.trainable == "all":
        module.train()
        return
    module.eval()
    for name, part in module.named_modules():
        if name and f"{name}.".startswith(recipe.head):
            part.train()
    for adapter in adapters(module).values():
        adapter.lora_dropout.train()


def trained_tensors(module: nn.Module, recipe: Recipe) -> dict[str, Tensor]:
    """What a training changes, by name: the trained parameters, and the buffers of the parts that are in training mode."""
    found: dict[str, Tensor] = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
    for name, buffer in module.named_buffers():
        if recipe.trainable == "all" or name.startswith(recipe.head):
            found[name] = buffer
    return found


def adapters(module: nn.Module) -> dict[str, Any]:
    """The adapted layers by name, as peft made them; none where nothing was injected."""
    return {name: part for name, part in module.named_modules() if hasattr(part, "lora_A")}


def check_adapters(module: nn.Module) -> None:
    """After a backward pass: every adapter must have had a gradient.

    A model may use a layer's weight without calling the layer (fused attention does); an adapter there trains nothing, and
    nothing says so.

    Raises:
        UsageError: One had none.
    """
    for name, adapter in adapters(module).items():
        if any(p.grad is None for p in adapter.parameters() if p.requires_grad):
            raise UsageError(
                f"the adapter on {name} gets no gradient, because the model does not call that layer; choose other layers "
                "with lora.targets."
            )


def merge(module: nn.Module) -> nn.Module:
    """Fold low-rank adapters into the weights, in place: a plain module with the tensor names that it had before."""
    for name, adapter in adapters(module).items():
        adapter.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, adapter.get_base_layer())
    return module


@torch.no_grad()
def load_tensors(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Set tensors (see ``trained_tensors``) to stored values, in place."""
    for name, tensor in tensors.items():
        tensor.copy_(values[name])


def _inject_adapters(module: nn.Module, recipe: Recipe) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    options = {**LORA_DEFAULTS, **recipe.lora}
    targets = _adapted_layers(module, recipe)
    rank = int(options["rank"])
    config = LoraConfig(
        r=rank,
        lora_alpha=options.get("alpha", 2 * rank),
        lora_dropout=float(options["dropout"]),
        target_modules="|".join(re.escape(name) for name in targets),
    )
    inject_adapter_in_model(config, module)
    module.requires_grad_(False)


def _adapted_layers(module: nn.Module, recipe: Recipe) -> list[str]:
    """Names of the Linear layers that get adapters."""
    expression = str(recipe.lora.get("targets", LORA_DEFAULTS["targets"]))
    linear = [n for n, p in module.named_modules() if isinstance(p, nn.Linear) and not f"{n}.".startswith(recipe.head)]
    targets = [name for name in linear if re.fullmatch(expression, name)]
    if not targets:
        example = ", ".join(linear[:4]) or "none"
        raise UsageError(f"no Linear layer outside the head has a name like {expression!r}; there are: {example}.")
    refused = getattr(module, "not_adaptable", {})
    if not isinstance(refused, Mapping):
        raise PluginError(
            f"not_adaptable of the model ({type(module).__name__}) must map names of layers to reasons, and is a "
            f"{type(refused).__name__}."
        )
    for name in targets:
        if name in refused:
            left = [other for other in linear if other not in refused][:4]
            raise UsageError(
                f"an adapter on {name} would train nothing: {str(refused[name]).rstrip('.')}; choose other layers with "
                f"lora.targets, e.g. {', '.join(left) or 'none is left, so that another trainable is needed'}."
            )
    return targets


def _wanted_names(module: nn.Module, recipe: Recipe) -> set[str]:
    """Names of the parameters to train."""
    floating = {n for n, p in module.named_parameters() if p.is_floating_point()}
    if recipe.trainable == "all":
        return floating
    wanted = {name for name in floating if name.startswith(recipe.head)}
    if recipe.trainable == "layernorm":
        scales = set(_layer_norm_names(module))
        if not scales:
            raise UsageError("trainable=layernorm: the model has no LayerNorm with a scale and shift.")
        wanted |= scales
    if recipe.trainable == "lora":
        wanted |= {n for n in floating if ".lora_A." in n or ".lora_B." in n}
    return wanted


def _layer_norm_names(module: nn.Module) -> Iterator[str]:
    for name, part in module.named_modules():
        # transformers and others bring classes of their own, which subclass nothing
        if isinstance(part, nn.LayerNorm) or type(part).__name__.startswith("LayerNorm"):
            for own, _ in part.named_parameters(recurse=False):
                yield f"{name}.{own}" if name else own
