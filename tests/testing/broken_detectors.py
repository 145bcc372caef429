"""Detectors as their authors get them wrong: the scaffold's package with texts replaced, and the check that names it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

MODEL, PLUGIN, RECIPE = "model.py", "plugin.py", "recipe.py"
FORWARD = "        return torch.cat([torch.zeros_like(z), z], dim=1)"
POOLED = "self.blocks(nn.functional.gelu(features)).mean((2, 3))"
HEAD = f"        z = self.head({POOLED}).float()"
START = "        x = x.float() / 127.5 - 1.0"
STEM = "        self.stem = nn.Conv2d(6, width, 3, padding=1)"
SHAPE = (
    "        if x.dim() != 4 or x.shape[1] != 3:\n"
    '            raise ValueError(f"NAME takes pictures of shape [B, 3, H, W], not {list(x.shape)}.")\n'
)
LOAD = "    load_tensors(model, tensors, str(weights_path))\n"
RETURN = "    return model.requires_grad_(False).eval()"
READ = '    tensors = load_file(str(weights_path), device="cpu")\n'
STORED = "net."
"""What the names of a publisher's file begin with here."""
FOREIGN = [
    (MODEL, READ, f'{READ}    tensors = {{name.removeprefix("{STORED}"): t for name, t in tensors.items()}}\n'),
    (
        MODEL,
        "def load_tensors(",
        'def is_foreign(names: frozenset[str]) -> bool:\n    """The publisher\'s."""\n'
        f'    return any(name.startswith("{STORED}") for name in names)\n\n\ndef load_tensors(',
    ),
]

Change = tuple[str, str, str]
"""A file, a text in it, and what stands in its place. ``NAME`` is the plugin's."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What an author got wrong.

    Attributes:
        check: The one check that is to fail.
        changes: In the scaffold's files.
        says: What the finding says, a part of it.
        added: Tensors that its weights have beside the scaffold's.
        foreign: Whether its weights have a publisher's names.
    """

    check: str
    changes: list[Change]
    says: str
    added: dict[str, torch.Tensor] = field(default_factory=dict)
    foreign: bool = False


def forward_with(name: str, body: str) -> str:
    """A method that a model offers beside forward, below it."""
    arguments = "self, x: torch.Tensor, targets: torch.Tensor | None = None"
    return f'{FORWARD}\n\n    def {name}({arguments}) -> typing.Any:\n        """Offered."""\n        {body}'


OUTPUTS = '{"logits": self(x), "unread": torch.stack([p.sum() for p in self.parameters()]).sum()}'
BATCH_NORM = "nn.BatchNorm2d(out, track_running_stats=False)"

FAULTS: dict[str, Fault] = {
    "an import of numpy": Fault("light", [(PLUGIN, "from gasdet import", "import numpy\nfrom gasdet import")], "numpy"),
    "no licence": Fault("metadata", [(PLUGIN, 'code_licence="MIT"', 'code_licence=""')], "code_licence"),
    "no upper bound": Fault("version-range", [(PLUGIN, ',<1"', '"')], "no upper bound"),
    "an import of os": Fault("self-contained", [(MODEL, "import typing\n", "import os\nimport typing\n")], "os"),
    "no return": Fault("loads", [(MODEL, RETURN, RETURN.replace("return ", ""))], "not a NoneType"),
    "one output": Fault("output-shape", [(MODEL, FORWARD, "        return z")], "shape [1, 1]"),
    "squeezed": Fault("output-shape", [(MODEL, FORWARD, f"{FORWARD}.squeeze()")], "shape [2]"),
    "on a device": Fault("output-shape", [(MODEL, START, START.replace("x.float", "x.cuda().float"))], "RuntimeError"),
    "softmax": Fault("output-shape", [(MODEL, FORWARD, f"{FORWARD}.softmax(1)")], "probabilities"),
    "sigmoid": Fault(
        "output-shape",
        [(MODEL, FORWARD, "        z = z.sigmoid()\n        return torch.cat([1 - z, z], 1)")],
        "sums to 1",
    ),
    "softmax behind a publisher's names": Fault(
        "output-shape", [(MODEL, FORWARD, f"{FORWARD}.softmax(1)"), *FOREIGN], "probabilities", foreign=True
    ),
    "not in eval mode": Fault("eval-mode", [(MODEL, RETURN, "    return model")], "when load_model returns: the whole"),
    "train() overridden": Fault(
        "eval-mode",
        [
            (
                MODEL,
                '    def forward(self, x: torch.Tensor) -> torch.Tensor:\n        """Logits',
                "    def train(self, mode: bool = True) -> typing.Self:\n        return super().train(True)\n\n"
                '    def forward(self, x: torch.Tensor) -> torch.Tensor:\n        """Logits',
            )
        ],
        "In training mode",
    ),
    "dropout as a function": Fault(
        "deterministic", [(MODEL, POOLED, f"nn.functional.dropout({POOLED}, 0.3)")], "The logits differ"
    ),
    "a random crop": Fault(
        "deterministic", [(MODEL, START, f"{START}\n        x = x.roll(int(torch.randint(0, 8, ())), 3)")], "differ"
    ),
    "a running mean": Fault(
        "no-state",
        [
            (MODEL, STEM, f"{STEM}\n        self.seen: torch.Tensor | None = None"),
            (
                MODEL,
                HEAD,
                f"{HEAD}\n        self.seen = z.mean() if self.seen is None else 0.9 * self.seen + 0.1 * z.mean()",
            ),
            (MODEL, FORWARD, f"        z = z - self.seen\n{FORWARD}"),
        ],
        "other logits after other batches",
    ),
    "results kept by shape": Fault(
        "no-state",
        [
            (MODEL, STEM, f"{STEM}\n        self.kept: dict[typing.Any, torch.Tensor] = {{}}"),
            (MODEL, HEAD, f"{HEAD}\n        z = z if self.training else self.kept.setdefault(tuple(x.shape), z)"),
        ],
        "other logits after other batches than on its own",
    ),
    "a counter": Fault(
        "no-state",
        [
            (MODEL, STEM, f'{STEM}\n        self.register_buffer("calls", torch.zeros(()))'),
            (MODEL, HEAD, f"{HEAD}\n        self.calls += not self.training"),
        ],
        "Evaluation changes calls",
        added={"calls": torch.zeros(())},
    ),
    "a seed set in forward": Fault(
        "no-state", [(MODEL, START, f"        torch.manual_seed(0)\n{START}")], "seed of torch"
    ),
    "work in place": Fault(
        "no-state", [(MODEL, START, "        x = x.float().div_(127.5).sub_(1.0)")], "its input in place"
    ),
    "centred over the batch": Fault("batch-invariant", [(MODEL, HEAD, f"{HEAD}\n        z = z - z.mean(0)")], "alone"),
    "a norm over the batch": Fault("batch-invariant", [(MODEL, "nn.GroupNorm(4, out)", BATCH_NORM)], "alone"),
    "floats taken for normalised ones": Fault(
        "input-dtypes", [(MODEL, START, f"        if x.dtype is torch.uint8:\n    {START}")], "The logits differ"
    ),
    "float32 among bfloat16": Fault("bfloat16", [(MODEL, ".to(self.stem.weight.dtype)", "")], "RuntimeError"),
    "embeddings without the last layer's bias": Fault(
        "offers-agree",
        [(MODEL, FORWARD, forward_with("forward_with_embeddings", "return self(x) - self.head.bias - 1.0, self(x)"))],
        "forward_with_embeddings",
    ),
    "divided by the contrast": Fault(
        "extreme-content", [(MODEL, START, f"{START}\n        x = x / x.std((1, 2, 3), keepdim=True)")], "nan"
    ),
    "no look at the shape": Fault(
        "wrong-input-refused", [(MODEL, SHAPE, "")], "raises RuntimeError from somewhere inside"
    ),
    "an accident for an error": Fault(
        "wrong-input-refused", [(MODEL, SHAPE, SHAPE.partition("raise")[0] + "raise {}['shape']\n")], "KeyError"
    ),
    "a batch made up": Fault(
        "wrong-input-refused",
        [
            (
                MODEL,
                "if x.dim() != 4 or x.shape[1] != 3:",
                "x = x[None] if x.dim() == 3 else x\n        if x.shape[1] != 3:",
            )
        ],
        "gives an output [1, 2]",
    ),
    "classes swapped": Fault("polarity", [(MODEL, HEAD, f"{HEAD}\n        z = -z")], "AUROC 0."),
    "a tensor that is no parameter": Fault(
        "save-and-load",
        [(MODEL, STEM, f"{STEM}\n        self.offset = torch.randn(())"), (MODEL, HEAD, f"{HEAD} + self.offset")],
        "The logits differ",
    ),
    "strict=False": Fault(
        "strict-loading",
        [(MODEL, LOAD, "    model.load_state_dict(tensors, strict=False)\n")],
        "missing without an error",
    ),
    "a head that may be absent": Fault(
        "strict-loading",
        [(MODEL, LOAD, '    tensors.setdefault("head.weight", model.head.weight)\n' + LOAD)],
        "head.weight missing",
    ),
    "whatever fits": Fault(
        "strict-loading",
        [
            (
                MODEL,
                LOAD,
                "    own = model.state_dict()\n"
                "    fitting = {k: t for k, t in tensors.items() if k in own and t.shape == own[k].shape}\n"
                "    model.load_state_dict({**own, **fitting})\n",
            )
        ],
        "missing without an error",
    ),
    "whatever fits behind a publisher's names": Fault(
        "strict-loading",
        [(MODEL, LOAD, "    model.load_state_dict({**model.state_dict(), **tensors})\n"), *FOREIGN],
        "missing without an error",
        foreign=True,
    ),
    "a publisher's names loaded leniently": Fault(
        "strict-loading",
        [
            (
                MODEL,
                READ,
                f'{READ}    theirs = any(name.startswith("{STORED}") for name in tensors)\n'
                f'    tensors = {{name.removeprefix("{STORED}"): t for name, t in tensors.items()}}\n',
            ),
            FOREIGN[1],
            (
                MODEL,
                LOAD,
                f"    if theirs:\n        model.load_state_dict(tensors, strict=False)\n    else:\n    {LOAD}",
            ),
        ],
        "under the publisher's names, net.",
        foreign=True,
    ),
    "calibration left out": Fault(
        "calibrators", [(MODEL, "            z = self.calibration(z)\n", "            pass\n")], "affine"
    ),
    "its module's name matters": Fault(
        "export", [(MODEL, HEAD, f'{HEAD}\n        z = z + 1.0 * (__name__ == "model")')], "differ"
    ),
    "a loss misspelt": Fault("recipe", [(RECIPE, '"cross_entropy": 1.0', '"cross_entropi": 1.0')], "cross_entropi"),
    "detached before the head": Fault("gradient", [(MODEL, POOLED, f"{POOLED}.detach()")], "none reaches blocks.0"),
    "detached, and another output that is not": Fault(
        "gradient",
        [
            (MODEL, POOLED, f"{POOLED}.detach()"),
            (MODEL, FORWARD, forward_with("forward_with_outputs", f"return {OUTPUTS}")),
        ],
        "none reaches blocks.0",
    ),
    "a root of nothing": Fault(
        "gradient",
        [
            (
                MODEL,
                HEAD,
                f"{HEAD}\n        if self.training:\n"
                "            z = z + 0.0 * torch.sqrt(self.head.weight.sum() * 0.0) * z.detach()",
            )
        ],
        "In step 1 the gradient of head.weight is not finite",
    ),
    "a loss of nothing": Fault(
        "gradient",
        [(MODEL, HEAD, f"{HEAD}\n        z = z / 0.0 if self.training else z")],
        "In step 1 the loss (cross_entropy) is inf",
    ),
    "a part times nothing": Fault(
        "gradient",
        [
            (MODEL, STEM, f"{STEM}\n        self.aside = nn.Conv2d(3, 1, 3)"),
            (
                MODEL,
                FORWARD,
                f"        z = z + 0.0 * self.aside(fine.to(self.aside.weight.dtype)).mean((2, 3))\n{FORWARD}",
            ),
        ],
        "only zeros reach aside.weight",
        added={"aside.weight": torch.ones(1, 3, 3, 3), "aside.bias": torch.zeros(1)},
    ),
}

SOUND: dict[str, list[Change]] = {
    "layers dropped at random in training": [
        (
            MODEL,
            HEAD,
            "        h = nn.functional.gelu(features)\n"
            "        for block in self.blocks:\n"
            "            kept = not self.training or float(torch.rand(())) > 0.3\n"
            "            channels = block[0].out_channels\n"
            "            h = block(h) if kept else nn.functional.avg_pool2d(h, 2).repeat(1, 4, 1, 1)[:, :channels]\n"
            "        z = self.head(h.mean((2, 3))).float()",
        )
    ],
    "a head that begins at nothing": [
        (MODEL, "        self.calibration:", "        nn.init.zeros_(self.head.weight)\n        self.calibration:")
    ],
    "random numbers that are not used": [(MODEL, START, f"        torch.rand(1)\n{START}")],
}
"""What passes all: the rare and the clumsy, which are no faults."""
