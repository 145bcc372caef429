"""Regions of interest: found in full resolution, cut out as squares, resized as ever."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from gasdet.errors import MediaError
from gasdet.media import MediaLimits, decode, decord_reader
from gasdet.media.region import square_around
from gasdet.types import Reason

from .conftest import encoded, image_keys, make_clip, picture, reference_fit, reference_frames, video_keys

RED = (255, 0, 0)


class Red:
    """Finds the box around the red pixels of each frame, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def __call__(self, frames: np.ndarray) -> list[tuple[float, float, float, float] | None]:
        assert frames.dtype == np.uint8
        assert frames.ndim == 4
        assert not frames.flags.writeable
        self.shown += [frame.copy() for frame in frames]
        return [self.box(frame) for frame in frames]

    @staticmethod
    def box(frame: np.ndarray) -> tuple[float, float, float, float] | None:
        rows, columns = np.nonzero((frame[..., 0] > 180) & (frame[..., 1] < 90) & (frame[..., 2] < 90))
        return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def with_red(box: Sequence[int] | None, width: int = 120, height: int = 90, seed: int = 0) -> np.ndarray:
    """A picture without red, but for a rectangle x0, y0, x1, y1."""
    pixels = picture(width, height, seed)
    pixels[..., 0] = np.minimum(pixels[..., 0], 150)
    if box is not None:
        x0, y0, x1, y1 = box
        pixels[y0:y1, x0:x1] = RED
    return pixels


def clip_of(
    frames: Sequence[np.ndarray], *, codec: str = "ffv1", container: str = "matroska", rotation: int = 0
) -> bytes:
    """A clip of these frames; ffv1 keeps every pixel."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv444p"
        if codec != "ffv1":
            stream.options = {"qp": "4"}
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=stream.pix_fmt)))
        output.mux(stream.encode())
    return buffer.getvalue()


def cut(frame: np.ndarray, x: int, y: int, side: int, size: tuple[int, int]) -> np.ndarray:
    """A square of a frame as the model takes it, by hand: ``[3, h, w]``."""
    return reference_fit(frame[y : y + side, x : x + side], *size)


class TestSquare:
    @pytest.mark.parametrize(
        ("corners", "margin", "expected"),
        [
            ((40, 30, 60, 50), 1.3, (27, 37, 26, 26)),  # 20 x 1.3 = 26, centre (50, 40)
            ((40, 30, 60, 40), 1.3, (22, 37, 26, 26)),  # the longer side counts
            ((40, 30, 60, 50), 1.0, (30, 40, 20, 20)),
            ((0, 0, 20, 20), 1.3, (0, 0, 26, 26)),  # moved in at the left and the top
            ((110, 80, 130, 100), 1.3, (64, 94, 26, 26)),  # and at the right and the bottom
            ((10, 10, 110, 80), 1.3, (0, 15, 90, 90)),  # 130 is more than the frame's 90
            ((50.2, 40.1, 50.4, 40.3), 1.3, (40, 50, 1, 1)),  # never less than a pixel
        ],
    )
    def test_by_hand(self, corners: tuple[float, ...], margin: float, expected: tuple[int, ...]) -> None:
        assert square_around(corners, 90, 120, margin) == expected

    def test_it_is_a_square_inside_whatever_is_found(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(500):
            height, width = rng.integers(1, 200, 2).tolist()
            x, y = rng.uniform(-50, 250, 2).tolist()
            w, h = rng.uniform(0.1, 300, 2).tolist()
            top, left, rows, columns = square_around((x, y, x + w, y + h), height, width, float(rng.uniform(1, 3)))
            assert rows == columns >= 1
            assert 0 <= top <= height - rows
            assert 0 <= left <= width - columns


class TestImages:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_the_crop_is_the_one_made_by_hand(self, kind: str) -> None:
        options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        data = encoded(with_red((40, 30, 60, 50)), kind, **options)
        whole = np.asarray(Image.open(io.BytesIO(data)))
        find = Red()
        decoded = decode(data, image_keys(region="red", resize=(48, 48)), None, find)
        assert np.array_equal(decoded.array, cut(whole, 37, 27, 26, (48, 48)))
        assert (decoded.width, decoded.height, decoded.notes) == (120, 90, ())
        assert len(find.shown) == 1
        assert np.array_equal(find.shown[0], whole)

    def test_the_margin_is_a_key(self) -> None:
        data = encoded(with_red((40, 30, 60, 50)), "PNG")
        decoded = decode(data, image_keys(region="red", region_margin=2.0, resize=(48, 48)), None, Red())
        assert np.array_equal(decoded.array, cut(with_red((40, 30, 60, 50)), 30, 20, 40, (48, 48)))

    def test_the_resizing_that_is_asked_for_comes_after(self) -> None:
        data = encoded(with_red((40, 30, 60, 50)), "PNG")
        square = with_red((40, 30, 60, 50))[27:53, 37:63]
        keys = {"resize": (20, 10), "resize_mode": "stretch", "interpolation": "bicubic", "antialias": True}
        decoded = decode(data, image_keys(region="red", **keys), None, Red())
        expected = np.asarray(Image.fromarray(square).resize((10, 20), Image.Resampling.BICUBIC))
        assert np.array_equal(decoded.array, expected.transpose(2, 0, 1))
        assert decode(data, image_keys(region="red", resize_mode="none"), None, Red()).array.shape == (3, 26, 26)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_an_orientation_is_applied_before_the_search_where_it_is_at_all(self, kind: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # shown a quarter turn clockwise
        data = encoded(with_red((90, 10, 110, 30)), kind, exif=exif, quality=95)
        plain = decode(data, image_keys(resize_mode="none")).array.transpose(1, 2, 0)
        for keys, whole in (({}, plain), ({"exif_orientation": True}, np.rot90(plain, -1))):
            find = Red()
            decoded = decode(data, image_keys(region="red", resize=(48, 48), **keys), None, find)
            assert np.array_equal(find.shown[0], whole)
            x, y = (87, 7) if not keys else (57, 87)
            assert np.array_equal(decoded.array, cut(whole, x, y, 26, (48, 48)))
            assert (decoded.height, decoded.width) == whole.shape[:2]

    def test_without_a_region_the_whole_is_used_and_the_notes_say_so(self) -> None:
        data = encoded(with_red(None), "PNG")
        decoded = decode(data, image_keys(region="faces"), None, Red())
        assert np.array_equal(decoded.array, decode(data, image_keys()).array)
        assert decoded.notes == ("no face was found; the whole frame was used",)
        other = decode(data, image_keys(region="gend/eyes"), None, Red())
        assert other.notes == ("no region of 'eyes' was found; the whole frame was used",)

    def test_the_memory_that_it_takes_counts(self) -> None:
        data = encoded(with_red(None), "PNG")
        limits = MediaLimits(max_decode_bytes=len(data) + 120 * 90 * 11)  # a PNG takes 9 bytes a pixel
        decode(data, image_keys(), limits)
        with pytest.raises(MediaError) as raised:
            decode(data, image_keys(region="red"), limits, Red())
        assert raised.value.reason is Reason.TOO_LARGE


class TestClips:
    BOXES = tuple((10 + 5 * i, 20 + i, 30 + 5 * i, 40 + i) for i in range(6))

    def test_each_frame_has_its_own_crop(self) -> None:
        frames = [with_red(box, seed=i) for i, box in enumerate(self.BOXES)]
        find = Red()
        decoded = decode(clip_of(frames), video_keys(region="red", num_frames=6, resize=(32, 32)), None, find)
        expected = [cut(f, x0 - 3, y0 - 3, 26, (32, 32)) for f, (x0, y0, _, _) in zip(frames, self.BOXES, strict=True)]
        assert np.array_equal(decoded.array, np.stack(expected))
        assert decoded.notes == ()
        assert [f.shape for f in find.shown] == [(90, 120, 3)] * 6  # each wanted frame once, in full resolution

    def test_frames_without_take_the_nearest_one_s_the_earlier_of_two(self) -> None:
        having = {1: (10, 20, 30, 40), 5: (60, 30, 80, 50)}
        frames = [with_red(having.get(i), seed=i) for i in range(8)]
        nearest = [1, 1, 1, 1, 5, 5, 5, 5]  # frame 3 is as far from both
        decoded = decode(clip_of(frames), video_keys(region="faces", num_frames=8, resize=(32, 32)), None, Red())
        for i, at in enumerate(nearest):
            x0, y0, _, _ = having[at]
            assert np.array_equal(decoded.array[i], cut(frames[i], x0 - 3, y0 - 3, 26, (32, 32))), i
        assert decoded.notes == ("no face was found in 6 of 8 frames, where the nearest frame's was used",)

    def test_none_in_any_frame_uses_the_whole_frames(self) -> None:
        data = clip_of([with_red(None, seed=i) for i in range(4)])
        find = Red()
        decoded = decode(data, video_keys(region="faces", num_frames=6), None, find)
        assert np.array_equal(decoded.array, decode(data, video_keys(num_frames=6)).array)
        assert set(decoded.notes) == {"no face was found; the whole frame was used", "padded 2 frames"}
        assert len(find.shown) == 4

    @pytest.mark.parametrize(
        "keys", [{"sampling": "uniform"}, {"sampling": "window", "window_seconds": 0.16}, {"frame_rate": 12.5}]
    )
    def test_every_sampling_looks_in_the_frames_that_it_takes(self, keys: dict) -> None:
        boxes = [(10 + 5 * i, 20, 30 + 5 * i, 40) if i % 4 == 0 else None for i in range(12)]
        frames = [with_red(box, seed=i) for i, box in enumerate(boxes)]
        data = clip_of(frames)
        plain = decode(data, video_keys(resize_mode="none", num_frames=4, **keys)).array
        at = [next(i for i in range(12) if np.array_equal(frames[i], f.transpose(1, 2, 0))) for f in plain]
        decoded = decode(data, video_keys(region="red", num_frames=4, resize=(32, 32), **keys), None, Red())
        have = [i for i in at if boxes[i]]
        assert 0 < len(have) < 4
        for row, i in enumerate(at):
            x0, y0, _, _ = boxes[min(have, key=lambda j: (abs(j - i), j))]
            assert np.array_equal(decoded.array[row], cut(frames[i], x0 - 3, y0 - 3, 26, (32, 32)))

    def test_a_turned_clip_is_searched_as_it_is_shown(self) -> None:
        frames = [with_red((10, 60, 30, 80), seed=i) for i in range(3)]
        data = clip_of(frames, codec="libx264", container="mp4", rotation=90)
        shown = [f.transpose(1, 2, 0) for f in decode(data, video_keys(num_frames=3, resize_mode="none")).array]
        assert shown[0].shape == (120, 90, 3)
        find = Red()
        decoded = decode(data, video_keys(region="red", num_frames=3, resize=(32, 32)), None, find)
        for i, frame in enumerate(shown):
            assert np.array_equal(find.shown[i], frame)
            x0, y0, x1, y1 = Red.box(frame)
            top, left, side, _ = square_around((x0, y0, x1, y1), 120, 90, 1.3)
            assert np.array_equal(decoded.array[i], cut(frame, left, top, side, (32, 32)))

    def test_with_and_without_decord_it_is_the_same(self, without_decord) -> None:
        frames = [with_red((40, 30, 60, 50) if i == 2 else None, seed=i) for i in range(5)]
        data = clip_of(frames, codec="libx264", container="mp4")
        keys = video_keys(region="red", num_frames=5, resize=(32, 32))
        first = decode(data, keys, None, Red())
        if decord_reader.decord() is not None:
            assert first.decoder.startswith("decord")
        whole = reference_frames(data)
        x0, y0, x1, y1 = Red.box(whole[2])
        top, left, side, _ = square_around((x0, y0, x1, y1), 90, 120, 1.3)
        assert np.array_equal(first.array, np.stack([cut(f, left, top, side, (32, 32)) for f in whole]))
        without_decord()
        second = decode(data, keys, None, Red())
        assert second.decoder.startswith("pyav")
        assert np.array_equal(first.array, second.array)
        assert first.notes == second.notes

    def test_what_a_decoder_that_failed_has_shown_is_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = clip_of([with_red(None, seed=i) for i in range(3)], codec="libx264", container="mp4")
        first = reference_frames(data)[0]

        def invented(file: object) -> Iterator[np.ndarray]:
            yield first
            for i in range(4):
                yield with_red((40, 30, 60, 50), seed=i)
            raise decord_reader.DecordError

        monkeypatch.setattr(decord_reader, "suits", lambda *arguments: True)
        monkeypatch.setattr(decord_reader, "read_frames", invented)
        decoded = decode(data, video_keys(region="faces", num_frames=6), None, Red())
        assert decoded.decoder.startswith("pyav")
        assert np.array_equal(decoded.array, decode(data, video_keys(num_frames=6)).array)
        assert "no face was found; the whole frame was used" in decoded.notes

    def test_the_second_walk_notes_nothing_twice(self) -> None:
        data = clip_of([with_red((40, 30, 60, 50) if i == 5 else None, seed=i) for i in range(10)])
        keys = video_keys(region="faces", num_frames=8, sampling="window", window_seconds=0.12)
        decoded = decode(data, keys, None, Red())
        repeated = [note for note in decoded.notes if "repeat the one before" in note]
        assert repeated == [
            note
            for note in decode(data, video_keys(num_frames=8, sampling="window", window_seconds=0.12)).notes
            if "repeat" in note
        ]
        assert len(repeated) == 1
        assert any("the nearest frame's was used" in note for note in decoded.notes)

    def test_the_end_of_a_short_clip_is_padded_with_its_last_crop(self) -> None:
        frames = [with_red(box, seed=i) for i, box in enumerate(self.BOXES[:3])]
        decoded = decode(clip_of(frames), video_keys(region="red", num_frames=5, resize=(32, 32)), None, Red())
        assert np.array_equal(decoded.array[4], decoded.array[2])
        assert decoded.notes == ("padded 2 frames",)

    def test_a_real_clip_s_crops_are_those_of_its_frames(self) -> None:
        data = make_clip(frames=6)
        decoded = decode(data, video_keys(region="x", num_frames=6), None, lambda frames: [(20.0, 10.0, 50.0, 40.0)])
        for got, frame in zip(decoded.array, reference_frames(data), strict=True):
            square = frame[round(25 - 19.5) : round(25 - 19.5) + 39, round(35 - 19.5) : round(35 - 19.5) + 39]
            assert np.array_equal(got, reference_fit(square, 32, 48))


class TestFaults:
    @pytest.mark.parametrize(
        "answer",
        [
            [],
            [None, None],
            [(1, 2, 3)],
            ["abcd"],
            [(5, 5, 5, 9)],
            [(9, 5, 5, 9)],
            [(float("nan"), 1, 2, 3)],
            [(0, 0, float("inf"), 3)],
            [(200, 10, 220, 20)],
            [(-20, 10, -1, 20)],
            [5],
        ],
    )
    def test_an_answer_that_is_no_box_in_the_frame_is_an_error(self, answer: list) -> None:
        with pytest.raises(MediaError) as raised:
            decode(encoded(with_red(None), "PNG"), image_keys(region="odd"), None, lambda frames: answer)
        assert raised.value.reason is Reason.DECODE_FAILED
        assert str(raised.value).startswith("odd gave ")

    @pytest.mark.parametrize("clip", [False, True])
    def test_what_it_raises_is_the_sample_s_reason(self, clip: bool) -> None:
        def broken(frames: np.ndarray) -> list[None]:
            raise RuntimeError("no\nmemory of it.")

        data = make_clip(frames=3) if clip else encoded(with_red(None), "PNG")
        with pytest.raises(MediaError, match=r"^odd failed with RuntimeError: no memory of it\.$") as raised:
            decode(data, (video_keys if clip else image_keys)(region="odd"), None, broken)
        assert raised.value.reason is Reason.DECODE_FAILED

    def test_pixels_cannot_be_changed_by_what_looks_at_them(self) -> None:
        def scribble(frames: np.ndarray) -> list[None]:
            cv2.rectangle(frames[0], (0, 0), (9, 9), RED)
            frames[0, 0, 0] = 0
            return [None]

        with pytest.raises(MediaError, match="odd failed"):
            decode(encoded(with_red(None), "PNG"), image_keys(region="odd"), None, scribble)

    def test_a_region_needs_what_finds_it_and_nothing_else_asks(self) -> None:
        data = encoded(with_red((40, 30, 60, 50)), "PNG")
        with pytest.raises(ValueError, match="the region 'red'"):
            decode(data, image_keys(region="red"))
        find = Red()
        assert np.array_equal(decode(data, image_keys(), None, find).array, decode(data, image_keys()).array)
        assert not find.shown
