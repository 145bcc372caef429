"""The words of the project as types: what a sample, a detector, its input and an outcome are.

Frozen dataclasses and enums only. Nothing here imports anything heavier than the standard library.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, get_args

from gasdet.equalise_profiles import canonical
from gasdet.errors import ConfigError
from gasdet.preprocessing_checks import checked_value

LABEL_REAL = 0
LABEL_SYNTHETIC = 1


class Modality(StrEnum):
    """What kind of media a sample is, or a detector takes."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class MediaType(StrEnum):
    """Where a sample comes from. ``SEMISYNTHETIC`` (edited by a generator) counts as synthetic."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    SEMISYNTHETIC = "semisynthetic"

    @property
    def label(self) -> int:
        """0 for real, 1 for synthetic and semisynthetic: the only polarity in the project."""
        return LABEL_REAL if self is MediaType.REAL else LABEL_SYNTHETIC


class Provenance(StrEnum):
    """Whether a sample belongs to a public dataset or to a private holdout."""

    PUBLIC = "public"
    HOLDOUT = "holdout"


class Status(StrEnum):
    """A planned sample's outcome. Every planned sample has exactly one."""

    OK = "ok"
    ERROR = "error"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why a sample has no score. The codes are part of the record format and are never renamed."""

    # The file
    FILE_MISSING = "file_missing"
    FILE_EMPTY = "file_empty"
    FILE_UNREADABLE = "file_unreadable"
    SYMLINK_LOOP = "symlink_loop"
    ARCHIVE_DAMAGED = "archive_damaged"
    # Its content
    UNKNOWN_FORMAT = "unknown_format"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    NO_VIDEO_STREAM = "no_video_stream"
    NO_FRAMES = "no_frames"
    TOO_FEW_FRAMES = "too_few_frames"
    NO_AUDIO_STREAM = "no_audio_stream"
    NO_SAMPLES = "no_samples"
    NONFINITE_SAMPLES = "nonfinite_samples"
    # The decoder
    DECODE_TIMEOUT = "decode_timeout"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_OUT_OF_MEMORY = "decoder_out_of_memory"
    DECODE_FAILED = "decode_failed"
    # The model
    MODEL_ERROR = "model_error"
    BAD_OUTPUT = "bad_output"
    NONFINITE_LOGITS = "nonfinite_logits"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    # Skipped before decoding
    LABEL_UNREADABLE = "label_unreadable"
    UNKNOWN_MODALITY = "unknown_modality"


def _closest(key: str, known: tuple[str, ...]) -> str:
    match = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


ResizeMode = Literal["crop", "stretch", "shortest_edge", "center_crop", "none"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "lanczos"]
Sampling = Literal["start", "uniform", "window"]
FramePad = Literal["repeat_last", "error"]
AudioPad = Literal["zeros", "repeat"]
AudioCrop = Literal["center", "start"]

_COMMON = ("equalise", "normalize")
_REGION_KEYS = ("region", "region_margin")
_PIXEL_KEYS = ("resize", "resize_mode", "interpolation", "antialias", "exif_orientation", *_REGION_KEYS)
_KEYS: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: (*_PIXEL_KEYS, *_COMMON),
    Modality.VIDEO: (
        *_PIXEL_KEYS,
        "num_frames",
        "max_frames",
        "frame_rate",
        "sampling",
        "window_seconds",
        "frame_pad",
        *_COMMON,
    ),
    Modality.AUDIO: ("sample_rate", "duration_seconds", "audio_pad", "audio_crop", *_COMMON),
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens between a decoded file and a model's input. The defaults are GASBench's.

    All modalities:
        equalise: The equalisation profile that every file goes through first, real and synthetic alike, with what differs from
            it ("standard-1:side=128"; docs/equalising.md); empty for none. The other keys see the equalised file.

    Images and clips (uint8 RGB, 0 to 255):
        resize: Height and width of the model's input.
        resize_mode: ``crop`` takes the largest centred crop of the target's aspect, then resizes it; ``stretch`` resizes
            the whole frame; ``shortest_edge`` resizes the shorter edge to the larger target side, then crops the centre;
            ``center_crop`` crops at native resolution (smaller frames are padded with zeros on all sides); ``none`` leaves
            the frame as it is.
        interpolation: The resampling kernel.
        antialias: False resizes with OpenCV as GASBench does; True with Pillow, whose kernels widen when they shrink.
        exif_orientation: Whether an image's EXIF orientation is applied. GASBench does not.
        region: Name of the registered preprocessor that finds the part of a picture that is all the model gets ("faces");
            empty for the whole picture. It sees each picture in full resolution, turned as ``exif_orientation`` (of a clip, its
            header) says; ``resize`` comes after.
        region_margin: Side of the square that is cut out, in units of the longer side of what was found.

    Clips:
        num_frames: How many frames the model gets, T.
        frame_rate: With ``sampling="start"``: take every round(fps / frame_rate)-th frame. None takes every frame.
        sampling: ``start`` takes frames from the first on; ``uniform`` spaces them evenly over the clip, first and last
            included; ``window`` spaces them evenly over the middle ``window_seconds``.
        window_seconds: Length of that window in seconds.
        frame_pad: What a clip with fewer frames than asked gets: its last frame repeated, or an error.

    Recordings (mono float32 in [-1, 1]):
        sample_rate: In Hz.
        duration_seconds: Length of the model's window; N = int(sample_rate * duration_seconds) samples. 0 keeps the whole
            recording.
        audio_pad: ``zeros`` on the right, or ``repeat`` the recording until it is long enough.
        audio_crop: Where a longer recording is cut: its ``center`` or its ``start``.
    """

    modality: Modality
    resize: tuple[int, int] = (224, 224)
    resize_mode: ResizeMode = "crop"
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    exif_orientation: bool = False
    num_frames: int = 16
    frame_rate: float | None = None
    sampling: Sampling = "start"
    window_seconds: float = 2.0
    frame_pad: FramePad = "repeat_last"
    sample_rate: int = 16000
    duration_seconds: float = 6.0
    audio_pad: AudioPad = "zeros"
    audio_crop: AudioCrop = "center"
    region: str = ""
    region_margin: float = 1.3
    equalise: str = ""

    @property
    def num_samples(self) -> int:
        """Samples in an audio window: int(sample_rate * duration_seconds), as GASBench rounds; 0 for the whole recording."""
        return int(self.sample_rate * self.duration_seconds)

    @classmethod
    def known_keys(cls, modality: Modality) -> tuple[str, ...]:
        """The ``preprocessing:`` keys that a bundle of this modality may use."""
        return _KEYS[modality]

    @classmethod
    def from_mapping(
        cls, modality: Modality | str, mapping: Mapping[str, Any] | None, *, where: str = "preprocessing"
    ) -> Preprocessing:
        """Read a bundle's ``preprocessing:`` section.

        Args:
            modality: The bundle's modality; it decides which keys are known.
            mapping: The section. None and {} give the defaults. ``max_frames`` is GASBench's other name of ``num_frames``.
                ``normalize`` is accepted and has no effect here: models normalise inside ``forward``.
            where: What the error messages call the section, with its file.

        Raises:
            ConfigError: A key is unknown for this modality (the message lists the known ones) or a value is unusable.
        """
        modality = Modality(modality)
        values = dict(mapping or {})
        known = _KEYS[modality]
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"{where}: unknown key {key!r} for {modality}{_closest(str(key), known)}; known keys: {', '.join(known)}."
                )
        values.pop("normalize", None)
        max_frames = values.pop("max_frames", None)
        if max_frames is not None:
            values.setdefault("num_frames", max_frames)
        clean = {key: checked_value(key, value, where) for key, value in values.items()}
        if clean.get("equalise"):
            clean["equalise"] = canonical(clean["equalise"], modality, where=f"{where}: equalise")
        if not clean.get("region"):
            clean.pop("region_margin", None)  # it has no effect
        elif modality is Modality.VIDEO and clean.get("resize_mode") == "none":
            raise ConfigError(f"{where}: the regions of a clip's frames differ in size; resize_mode none cannot stay.")
        return cls(modality=modality, **clean)

    def to_mapping(self) -> dict[str, Any]:
        """The keys that matter for this modality, every default written out: what a run records.

        Those of the region are there only where one is looked for, and that of the equalisation only where there is one.
        """
        left_out = ["normalize", "max_frames", *(() if self.region else _REGION_KEYS)]
        if not self.equalise:
            left_out.append("equalise")
        keys = [k for k in _KEYS[self.modality] if k not in left_out]
        return {k: list(v) if isinstance(v := getattr(self, k), tuple) else v for k in keys}

    def fingerprint(self) -> str:
        """16 hex digits that are equal exactly when two detectors can share one decode."""
        text = json.dumps({"modality": self.modality, **self.to_mapping()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


LocatorKind = Literal["file", "zip", "tar", "parquet", "frames"]


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a sample's bytes are, in a form that a decode worker and plan.parquet can hold.

    Attributes:
        kind: Which kind of place; ``frames`` is a folder of images that is one clip.
        path: The file itself, or the archive or Parquet file that holds it. Of frames: their folder, or the archive.
        member: The member's name in a zip or tar. Of frames: their folder in the archive; empty for a folder on disk.
        row: The row in a Parquet file, counted from 0 over all row groups; in a tar, how many files lie before this one (of
            frames: before the first), or -1 where nobody has counted. Nothing is looked up by the latter: it tells in which
            order to read.
        column: The Parquet column with the bytes, with a dot for a struct's field ("image.bytes").
        size: Bytes, where known without reading; -1 otherwise.
    """

    kind: LocatorKind
    path: str
    member: str = ""
    row: int = -1
    column: str = ""
    size: int = -1


NO_ANNOTATIONS: Mapping[str, str] = {}
"""One for all samples without annotations: there may be millions."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One file (or archive member, or Parquet row) with what is known of it.

    Attributes:
        sample_id: 32 hex digits: a hash of dataset name and member path, the same on every machine.
        dataset: Name of the dataset.
        member: Path within the dataset, with forward slashes.
        locator: Where its bytes are.
        modality: None where neither name nor content tells; such a sample is skipped.
        media_type: None where the data has no labels; such a sample is scored and takes no part in the metrics.
        generator: Name of the generator or of the capturing device, where known.
        group: Samples that share an origin share a group; splits and bootstraps keep groups whole. Never empty: a sample
            without one is a group of its own.
        split: "train", "val", "test" or whatever the data says; empty where it says nothing.
        provenance: Public, or private holdout.
        weight: Weight in the metrics.
        pair: A real sample and the synthetic ones made from it share one; empty where there is none.
        released: When the generator (or the sample) came out, ``YYYY[-MM[-DD]]``; empty where unknown.
        skip: Set where the sample cannot be planned (its label cannot be read, its modality is unknown).
        skip_message: Says so in words.
        annotations: Cells of those columns of its manifest that a training recipe asks for, by the name it asks with. A cell
            may be empty; a name is absent where the manifest has no such column. Not part of the hash.
    """

    sample_id: str
    dataset: str
    member: str
    locator: Locator
    modality: Modality | None
    media_type: MediaType | None
    generator: str = ""
    group: str = ""
    split: str = ""
    provenance: Provenance = Provenance.PUBLIC
    weight: float = 1.0
    pair: str = ""
    released: str = ""
    skip: Reason | None = None
    skip_message: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: NO_ANNOTATIONS, hash=False)

    @property
    def label(self) -> int | None:
        """0 real, 1 synthetic, None unknown."""
        return None if self.media_type is None else self.media_type.label


def sample_id(dataset: str, member: str) -> str:
    """The id of a sample: 32 hex digits of SHA-256 over dataset name and member path."""
    text = f"{dataset}\x00{member}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:32]


WeightsKind = Literal["release", "demo"]


@dataclass(frozen=True, slots=True)
class WeightsSpec:
    """One named set of weights of a detector: where it is, what it must hash to, and on what terms it may be used.

    Attributes:
        name: What ``--weights`` takes, e.g. "demo" or "v1".
        kind: ``demo`` weights are small, trained on procedural demo data, and say nothing about real media.
        source: ``package:FILE`` (shipped in the plugin's own package), ``hf-hub:owner/name[@revision]/FILE``, or an
            ``https://`` address.
        sha256: Of the file. Required for everything that is fetched.
        licence: SPDX id or name of the licence of the weights.
        size_bytes: Size of the file, for the message before a download; 0 where unknown.
        training_data: What they were trained on, in words.
        model: Keyword arguments of ``load_model`` that this file needs (over the detector's own).
        preprocessing: Preprocessing keys that this file needs (over the detector's own).
        notes: Anything a user must know.
        dtypes: In which of float32, bfloat16 and float16 the model may run with them: its probabilities stay near those in
            float32. The conformance kit checks bfloat16.
    """

    name: str
    source: str
    sha256: str
    licence: str
    kind: WeightsKind = "release"
    size_bytes: int = 0
    training_data: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    dtypes: tuple[str, ...] = ("float32",)


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A published, pretrained network that a detector is trained on top of.

    Attributes:
        name: timm's (or torchaudio's) architecture name.
        source: ``hf-hub:owner/name[@revision]/FILE`` or an ``https://`` address.
        sha256: Of that file, empty where its publisher states none and we could not compute it.
        licence: Of the weights.
        parameters: Number of parameters.
        notes: Anything a user must know, e.g. other file formats that are accepted.
    """

    name: str
    source: str
    licence: str
    sha256: str = ""
    parameters: int = 0
    notes: str = ""


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A detector as a plugin registers it: metadata, and where its model.py is.

    Attributes:
        name: Unique among detectors; lower case letters, digits and hyphens.
        modality: What it takes.
        target: Import path of the self-contained model.py, e.g. "gasdet_restrav.model". It defines
            ``load_model(weights_path, num_classes=2, **model) -> torch.nn.Module``.
        summary: One line.
        preprocessing: The bundle's ``preprocessing:`` section.
        model: Keyword arguments for ``load_model``.
        weights: Named sets of weights; the first of kind ``release`` is the default.
        backbones: Pretrained networks that it can be trained from; the first is the default.
        recipe: Import path of its training recipe, ``"package.module:attribute"``; empty where it cannot be trained.
        parameters: Number of parameters of the full-size model.
        paper: Citation, one line.
        paper_url: Where to read it.
        code_licence: SPDX id of the plugin's code.
        training_data: What the method was published with, in words.
        input: The model's input in words, shapes and units.
        notes: What a user must know: what was reconstructed, known weak spots.
        requires_gasdet: Version specifier of the core, e.g. ">=0.1,<1"; empty for any.
    """

    name: str
    modality: Modality
    target: str
    summary: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[WeightsSpec, ...] = ()
    backbones: tuple[BackboneSpec, ...] = ()
    recipe: str = ""
    parameters: int = 0
    paper: str = ""
    paper_url: str = ""
    code_licence: str = ""
    training_data: str = ""
    input: str = ""
    notes: tuple[str, ...] = ()
    requires_gasdet: str = ""

    def weights_named(self, name: str) -> WeightsSpec | None:
        """The set of weights of that name, or None."""
        return next((w for w in self.weights if w.name == name), None)


ComponentKind = Literal["preprocessor", "loss", "calibrator", "metric"]
Kind = Literal["detector", "metric", "loss", "calibrator", "preprocessor"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a plugin can bring, as ``gasdet plugin new --kind`` and the conformance kit name it."""


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A preprocessor, loss, calibrator or metric as a plugin registers it.

    Attributes:
        name: Unique among the components of its kind.
        target: Import path of the component, ``"package.module:attribute"``; imported when first used.
        summary: One line.
        reference: Paper, equation or library that defines it.
        higher_is_better: For metrics: True, False, or None where neither (a count, a time).
        options: Default keyword arguments.
        bounds: For metrics: the smallest and the largest value that it can take; None where it has none.
        agrees_with: For metrics: import path of a function of (labels, scores, weights), e.g. of scikit-learn's behind a few
            lines, with which it agrees; the conformance kit compares the two.
        example: For losses of embeddings or outputs: import path of ``function(labels, seed)`` that makes an input for labels
            ``[B]``, so that the conformance kit can call the loss.
        optimum: For losses of logits to which confidence can be too much, as with label smoothing: import path of
            ``function(**options)`` that gives the margin towards the right class at which a sample costs least, or a pair
            of them for real and synthetic ones; infinity where more is always better. Empty: always infinity.
        unsupervised: For losses: whether it does not look at the labels, as a uniformity of embeddings.
        detaches: For losses: what it keeps out of its gradient on purpose, in words, e.g. "the centres, which move by
            themselves". The conformance kit then asks that its gradient leads downhill, not that it is the derivative.
    """

    name: str
    target: str
    summary: str
    reference: str = ""
    higher_is_better: bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None
    agrees_with: str = ""
    example: str = ""
    optimum: str = ""
    unsupervised: bool = False
    detaches: str = ""
