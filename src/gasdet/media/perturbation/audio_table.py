"""Table entries of what changes recordings."""

from __future__ import annotations

from functools import partial

from gasdet.media.perturbation import audio_codec, rawboost, sound
from gasdet.media.perturbation.options import Choice, Number, Switch
from gasdet.media.perturbation.perturbation import AUDIO, Perturbation

_KBPS = Number((16.0, 64.0), 8, 256, "thousands of bits a second")

SOUND = (
    Perturbation(
        "gain",
        AUDIO,
        sound.gain,
        "louder or quieter",
        options={
            "db": Number((-6.0, 6.0), -120, 120, "change of the level in dB"),
            "clip": Switch(False, "whether samples are cut at -1 and 1"),
        },
        levels={"db": (-3.0, -6.0, -12.0, -18.0, -24.0)},
    ),
    Perturbation(
        "noise",
        AUDIO,
        sound.noise,
        "stationary noise at a signal-to-noise ratio",
        options={
            "snr_db": Number((10.0, 40.0), -60, 120, "mean power of the recording over the noise's, in dB"),
            "colour": Choice("white", sound.COLOURS, "how its power falls with the frequency"),
        },
        levels={"snr_db": (30.0, 20.0, 15.0, 10.0, 5.0)},
    ),
    Perturbation(
        "codec",
        AUDIO,
        audio_codec.codec,
        "a lossy codec and back",
        options={
            "codec": Choice(("mp3", "aac", "opus"), audio_codec.CODECS, "which; g711 has 64 kbit/s always"),
            "kbps": _KBPS,
        },
        needs_rate=True,
    ),
    *(
        Perturbation(
            name,
            AUDIO,
            partial(audio_codec.codec, codec=name),
            f"{title} and back",
            options={"kbps": _KBPS},
            levels={"kbps": (64.0, 48.0, 32.0, 24.0, 16.0)},
            needs_rate=True,
        )
        for name, title in (("mp3", "MP3 (LAME)"), ("aac", "AAC-LC (FFmpeg)"), ("opus", "Opus"))
    ),
    Perturbation(
        "g711",
        AUDIO,
        partial(audio_codec.codec, codec="g711", kbps=64.0),
        "telephone: 8 kHz and G.711 mu-law",
        needs_rate=True,
        source="ITU-T G.711",
    ),
    Perturbation(
        "resample",
        AUDIO,
        sound.resample,
        "to a lower sample rate and back",
        options={
            "factor": Number((0.5, 1.0), 0.05, 1, "of the sample rate"),
            "times": Number(1, 1, 10, "how often", whole=True),
        },
        levels={"factor": (0.9, 0.75, 0.5, 0.35, 0.25)},
        needs_rate=True,
    ),
    Perturbation(
        "band_pass",
        AUDIO,
        sound.band_pass,
        "a linear-phase band-pass",
        options={
            "low": Number((0.0, 300.0), 0, 96000, "lower edge in Hz; 0 for none"),
            "high": Number((3400.0, 8000.0), 1, 96000, "upper edge in Hz; none from half the sample rate on"),
            "taps": Number(255, 3, 4095, "length of the filter, made odd", whole=True),
        },
        levels={"low": (50.0, 100.0, 200.0, 300.0, 400.0), "high": (7000.0, 6000.0, 4500.0, 3400.0, 2500.0)},
        needs_rate=True,
    ),
    Perturbation(
        "time_shift",
        AUDIO,
        sound.time_shift,
        "later or earlier",
        options={
            "seconds": Number((-0.5, 0.5), -3600, 3600, "above 0 later"),
            "wrap": Switch(True, "whether what leaves at one end comes in at the other; else silence"),
        },
        levels={"seconds": (0.01, 0.05, 0.1, 0.25, 0.5)},
        needs_rate=True,
    ),
    Perturbation(
        "rawboost",
        AUDIO,
        rawboost.rawboost,
        "convolutive, impulsive and stationary noise of speech channels",
        options={
            "algorithm": Number(5, 1, 8, "which noises; 5 for telephone speech, 3 for compressed speech", whole=True),
            "impulse_share": Number((0.0, 0.1), 0, 1, "of the samples that impulses change"),
            "impulse_gain": Number(2.0, 0, 100, "of the impulses"),
            "snr_db": Number((10.0, 40.0), -60, 120, "of the stationary noise"),
        },
        needs_rate=True,
        source="Tak et al., arXiv 2111.04433, with its authors' parameters",
    ),
)
