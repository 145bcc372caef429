"""What the loaded model does with input: shapes, types, neighbours, state, polarity, time and memory."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gasdet.bundle import Detector
from gasdet.errors import GasdetError, first_line
from gasdet.testing.detectors.plugin_checks import SUITE
from gasdet.testing.detectors.subject import RANDOM, DetectorSubject
from gasdet.testing.suite import Failed, NotApplicable
from gasdet.training.checkpoint import own_random_numbers
from gasdet.types import Modality

_ROUNDING = 2e-3
"""How far logits may differ, relative to their size, where a library may choose another order of its sums."""
_SUM_OF_SHARES = 1e-4
_BFLOAT16 = 0.15
"""How far probabilities may differ in bfloat16, which keeps 8 bits of a number."""
_SAME = ("deterministic", "no-state")
"""What a check needs that compares two calls: else it would find noise, or what another call left."""


@SUITE.check(
    "loads",
    "it loads with weights that are at hand",
    "see the error; gasdet info NAME shows the weights, and --weights takes others.",
)
def _loads(subject: DetectorSubject) -> str:
    detector = subject.detector
    kind = {RANDOM: "random weights of the recipe's network for the demo data", "demo": "demo weights"}
    what = kind.get(subject.weights_kind, f"the weights {subject.given or subject.weights}")
    return f"{what}, {sum(p.numel() for p in detector.module.parameters()):,} parameters"


def _close(one: npt.NDArray[Any], other: npt.NDArray[Any], tolerance: float = _ROUNDING) -> float:
    """The largest difference over what is allowed: above 1 where they are not close."""
    allowed = tolerance * max(1.0, float(np.abs(one).max()))
    return float(np.abs(one - other).max()) / allowed


@SUITE.check(
    "output-shape",
    "it gives finite logits [B, 2] (or [B, 3]) for batches of 1, 2 and 5, and no probabilities",
    "return one tensor of logits in the order (real, synthetic[, semisynthetic]), without softmax or sigmoid; do not squeeze a "
    "batch of one, and name no device: the caller moves module and input.",
)
def _output_shape(subject: DetectorSubject) -> str:
    found = []
    for count in (1, 2, 5):
        found.append(subject.logits(subject.batch(count)[0]))
        if not np.isfinite(found[-1]).all():
            raise Failed(f"Logits of a batch of {count} are not finite.")
    rows = np.concatenate(found)
    if rows.min() >= 0.0 and rows.max() <= 1.0 and np.abs(rows.sum(axis=1) - 1.0).max() < _SUM_OF_SHARES:
        raise Failed(
            "Every row lies in [0, 1] and sums to 1: these are probabilities, and read as logits they keep P(synthetic) "
            "between 0.27 and 0.73."
        )
    return f"[B, {subject.detector.num_classes}]"


@SUITE.check(
    "eval-mode",
    "load_model returns a module in eval mode, in all its parts, and a forward pass leaves it so",
    "end load_model with model.eval(), do not call train() in forward, and do not override eval() or train() without calling "
    "the base class.",
)
def _eval_mode(subject: DetectorSubject) -> None:
    module = subject.call_load_model(subject.file())
    if training := _in_training(module):
        raise Failed(f"In training mode when load_model returns: {training}.")
    with torch.inference_mode():
        module(torch.from_numpy(subject.batch(1)[0]))
    if training := _in_training(module):
        raise Failed(f"In training mode after a forward pass: {training}.")


def _in_training(module: torch.nn.Module) -> str:
    return ", ".join([name or "the whole" for name, part in module.named_modules() if part.training][:5])


@SUITE.check(
    "deterministic",
    "the same batch gives the same bits, whatever torch's random numbers are",
    "draw no random numbers in evaluation: a random crop, a dropout called as a function, noise.",
    needs=("eval-mode",),
)
def _deterministic(subject: DetectorSubject) -> None:
    batch = subject.batch(3)[0]
    found = []
    for seed in (0, 1):
        detector = subject.load()  # anew: what another call left behind is the next check's
        _seed(seed)
        found.append(subject.logits(batch, detector))
    if not np.array_equal(found[0], found[1]):
        raise Failed(f"The logits differ by up to {float(np.abs(found[0] - found[1]).max()):.3g}.")


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@SUITE.check(
    "no-state",
    "a call leaves nothing behind: parameters, buffers, random numbers and the next call's result stay as they were",
    "keep no running mean, cache or counter in evaluation, write to no input, and set no seed in forward.",
    needs=("deterministic",),
)
def _no_state(subject: DetectorSubject) -> None:
    detector = subject.load()
    before = {name: tensor.clone() for name, tensor in detector.module.state_dict().items()}
    batch, same_shape, longer = subject.batch(2)[0], subject.batch(2, seed=2)[0], subject.batch(3, seed=3)[0]
    first = subject.logits(batch, detector)
    subject.logits(longer, detector)
    later = subject.logits(same_shape, detector)
    if not np.array_equal(later, subject.logits(same_shape, subject.load())):
        raise Failed("A batch gives other logits after other batches than on its own.")
    if not np.array_equal(first, subject.logits(batch, detector)):
        raise Failed("The same batch gives other logits after other batches.")
    changed = [n for n, t in detector.module.state_dict().items() if not torch.equal(t, before[n])]
    if changed:
        raise Failed(f"Evaluation changes {', '.join(changed[:5])}.")
    if setters := _seeds_set(subject):
        raise Failed(f"A forward pass sets the seed of {' and '.join(setters)} for the whole process.")
    _check_input_kept(subject)


def _seeds_set(subject: DetectorSubject) -> list[str]:
    """Whose random numbers go on alike after a forward pass, whatever they were before; drawing some is allowed."""
    batch = subject.batch(1)[0]
    following = []
    with own_random_numbers(torch.device("cpu")):
        for seed in (1, 2):
            _seed(seed)
            subject.logits(batch)
            following.append(
                {"torch": torch.rand(4).tolist(), "numpy": np.random.rand(4).tolist(), "random": random.random()}
            )
    return [name for name in following[0] if following[0][name] == following[1][name]]


def _check_input_kept(subject: DetectorSubject) -> None:
    """The core hands a model a copy of its own; a bundle elsewhere gets the caller's tensor."""
    given = torch.from_numpy(subject.batch(2)[0]).float()
    kept = given.clone()
    with torch.inference_mode():
        subject.detector.module(given)
    if not torch.equal(given, kept):
        raise Failed("It changes its input in place.")


@SUITE.check(
    "batch-invariant",
    "a sample's logits do not depend on the samples beside it, nor on how many there are",
    "no mean, norm or attention over the batch's dimension; BatchNorm in eval mode only.",
    needs=_SAME,
)
def _batch_invariant(subject: DetectorSubject) -> str:
    batch = subject.batch(4)[0]
    others = subject.batch(4, seed=1)[0]
    together = subject.logits(batch)
    alone = np.concatenate([subject.logits(batch[i : i + 1]) for i in range(len(batch))])
    mixed = subject.logits(np.concatenate([others[:2], batch[2:3], others[3:]]))[2]
    turned = subject.logits(np.ascontiguousarray(batch[::-1]))[::-1]
    for what, one, other in (
        ("alone", together, alone),
        ("beside others", together[2], mixed),
        ("in another order", together, turned),
    ):
        if not _close(one, other) <= 1.0:
            raise Failed(f"Logits differ by up to {float(np.abs(one - other).max()):.3g} {what}.")
    return f"largest difference {float(np.abs(together - alone).max()):.1g}"


@SUITE.check(
    "input-dtypes",
    "pixels give the same logits as bytes (uint8) and as floating-point numbers from 0 to 255",
    "begin forward with x = x.float() / 255 (or what the method asks for), whatever the dtype.",
    needs=_SAME,
)
def _input_dtypes(subject: DetectorSubject) -> str:
    if subject.modality is Modality.AUDIO:
        raise NotApplicable("recordings are float32 always")
    batch = torch.from_numpy(subject.batch(2)[0])
    with torch.inference_mode():
        outputs = [_logits(subject.detector.module(x)) for x in (batch, batch.float())]
    far = _close(outputs[0].float().numpy(), outputs[1].float().numpy(), tolerance=1e-4)
    if not far <= 1.0:
        raise Failed(f"The logits differ by up to {float((outputs[0] - outputs[1]).abs().max()):.3g}.")
    return f"largest difference {float((outputs[0] - outputs[1]).abs().max()):.1g}"


def _logits(output: Any) -> torch.Tensor:
    return torch.as_tensor(output[0] if isinstance(output, tuple) else output)


@SUITE.check(
    "bfloat16",
    "with weights that declare it, it runs in bfloat16, and its probabilities stay near those in float32",
    "create constants and positions in the weights' dtype, compute what needs precision in float32, or leave bfloat16 out of "
    "WeightsSpec.dtypes.",
    needs=_SAME,
)
def _bfloat16(subject: DetectorSubject) -> str:
    weights = subject.spec.weights_named(subject.weights)
    if weights is None or "bfloat16" not in weights.dtypes:
        raise NotApplicable("its weights declare no bfloat16")
    batch = subject.batch(4)[0]
    exact = _probability(subject.logits(batch))
    rounded = _probability(subject.logits(batch, subject.load().to("cpu", "bfloat16")))
    far = float(np.abs(exact - rounded).max())
    if not far <= _BFLOAT16:
        raise Failed(f"P(synthetic) differs by up to {far:.3f}.")
    return f"P(synthetic) differs by up to {far:.3f}"


def _probability(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    z = logits.astype(np.float64)
    shares = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(1.0 - shares[:, 0] / shares.sum(axis=1))


@SUITE.check(
    "offers-agree",
    "what it offers beside forward (features, embeddings, outputs, details) gives forward's logits",
    "let forward call the same code; docs/plugins.md says what each must return.",
    needs=_SAME,
)
def _offers_agree(subject: DetectorSubject) -> str:
    module: Any = subject.detector.module
    x = torch.from_numpy(subject.batch(2)[0])
    offers: dict[str, Any] = {
        "forward_with_embeddings": lambda: module.forward_with_embeddings(x)[0],
        "forward_with_outputs": lambda: module.forward_with_outputs(x)["logits"],
        "forward_with_details": lambda: module.forward_with_details(x)[0],
        "classify": lambda: module.classify(module.features(x)),
    }
    present = [name for name in offers if hasattr(module, name)]
    if not present:
        raise NotApplicable("it offers forward alone")
    with torch.inference_mode():
        expected = _logits(module(x)).float().numpy()
        for name in present:
            found = torch.as_tensor(offers[name]()).float().numpy()
            if found.shape != expected.shape or not _close(expected, found) <= 1.0:
                raise Failed(f"The logits of {name} are not forward's.")
    return ", ".join(present)


@SUITE.check(
    "extreme-content",
    "constant input (black, white, silence, full scale) and pure noise give finite logits",
    "guard divisions by a norm, a standard deviation or a loudness that is 0.",
)
def _extreme_content(subject: DetectorSubject) -> None:
    batch = subject.batch(1)[0]
    audio = subject.modality is Modality.AUDIO
    rng = np.random.default_rng(0)
    noise = rng.uniform(-1, 1, batch.shape) if audio else rng.integers(0, 256, batch.shape)
    contents = {f"that is {value} everywhere": value for value in ((0.0, 1.0, -1.0) if audio else (0, 128, 255))}
    for what, content in {**contents, "of noise": noise}.items():
        logits = subject.logits(np.broadcast_to(content, batch.shape).astype(batch.dtype))
        if not np.isfinite(logits).all():
            raise Failed(f"Input {what} gives {logits.tolist()}.")


@SUITE.check(
    "wrong-input-refused",
    "input of another shape raises a ValueError that says so, instead of giving logits",
    "begin forward with a look at x.shape, and raise ValueError with what the model takes and what it got; do not flatten, "
    "squeeze or pad whatever comes into something that fits.",
)
def _wrong_input(subject: DetectorSubject) -> None:
    x = torch.from_numpy(subject.batch(2)[0])
    # a model of clips may well take single frames too, and answer for each
    wrong = {"no dimension for the batch": x[0, 0] if subject.modality is Modality.VIDEO else x[0]}
    if subject.modality is not Modality.AUDIO:
        wrong["one channel"] = x.narrow(-3, 0, 1)
    for what, given in wrong.items():
        try:
            with torch.inference_mode():
                output = _logits(subject.detector.module(given))
        except (ValueError, GasdetError) as error:
            if str(error).strip():
                continue
            raise Failed(
                f"Input {list(given.shape)} ({what}) raises a {type(error).__name__} without a word."
            ) from None
        except Exception as error:
            raise Failed(
                f"Input {list(given.shape)} ({what}) raises {type(error).__name__} from somewhere inside: {first_line(error)}."
            ) from None
        raise Failed(f"Input {list(given.shape)} ({what}) gives an output {list(output.shape)}.")


@SUITE.check(
    "polarity",
    "on labelled samples, synthetic ones get the higher P(synthetic): AUROC above 0.5",
    "logits are in the order (real, synthetic), label 1 is synthetic; a swapped order is the commonest mistake of all.",
    needs=(*_SAME, "batch-invariant", "input-dtypes"),
)
def _polarity(subject: DetectorSubject) -> str:
    from gasdet.builtin.metrics import auroc
    from gasdet.evaluation.score import score_samples

    if subject.data is None and subject.weights_kind != "demo":
        kind = {RANDOM: "random", "release": "a release"}.get(subject.weights_kind, "no demo weights")
        raise NotApplicable(f"its weights are {kind}; name labelled data for them with --data")
    if subject.data is not None and subject.data_for_others:
        raise NotApplicable(f"{subject.data} holds no {subject.modality} samples")
    data = subject.labelled
    pairs = zip(data.samples, score_samples([subject.detector], data.samples), strict=True)
    scored = [(sample.label, record["p_synthetic"]) for sample, record in pairs if record["status"] == "ok"]
    labelled = [(label, p) for label, p in scored if label is not None]
    if len({label for label, _ in labelled}) < 2:
        raise Failed(f"Of {len(data.samples)} samples of {data.description}, no two of both classes were scored.")
    value = auroc(*map(np.array, zip(*labelled, strict=True)))
    told = f"AUROC {value:.3f} on {len(labelled)} samples of {data.description}"
    if not value > 0.5:
        raise Failed(f"{told}.")
    return told


@SUITE.check(
    "cost",
    "time and memory of a forward pass are measured; nothing is demanded of them",
    "",
)
def _cost(subject: DetectorSubject) -> str:
    detector, batch = subject.detector, subject.batch(4)[0]
    subject.logits(batch[:1])
    times = []
    for part in (batch[:1], batch):
        start = time.perf_counter()
        subject.logits(part)
        times.append((time.perf_counter() - start) * 1000 / len(part))
    peak = _peak_mib(detector, batch)
    weights = sum(t.numel() * t.element_size() for t in detector.module.state_dict().values()) / 2**20
    told = f"{times[0]:.1f} ms alone, {times[1]:.1f} ms a sample of 4, on {torch.get_num_threads()} threads"
    memory = "" if peak is None else f", {peak:.0f} MiB above what the process held"
    return f"{told}; weights {weights:.1f} MiB{memory}"


def _peak_mib(detector: Detector, batch: npt.NDArray[Any]) -> float | None:
    """How much a forward pass adds to the process at its peak; None where the system does not tell (Linux does)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew: proc(5)
        before = _status_kib("VmRSS")
        detector.logits(batch)
        return max(0.0, (_status_kib("VmHWM") - before) / 1024)
    except (OSError, ValueError, StopIteration):
        return None


def _status_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
