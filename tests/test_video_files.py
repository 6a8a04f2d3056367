"""Clips from file to file: what belongs to a clip is still there, and whatever comes between, the result is right or one sentence."""

import io
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from test_bad_input import in_process, is_told, tree

from c2m_blocks import RefSRNet
from c2m_blocks.clip_reading import read_clip
from c2m_blocks.clip_writing import write_clip
from c2m_blocks.core import read_image, write_image
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.video import RefBasicVSR
from c2m_blocks.video_files import upscale_video

av = pytest.importorskip("av")
MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


class Enlarger(torch.nn.Module):
    "A network for clips that does nothing but enlarge, as slowly as is wanted."

    scale = 4

    def __init__(self, seconds=0.0):
        super().__init__()
        self.wait = lambda: time.sleep(seconds)  # no setting that a run depends on

    def stream(self, frames, ref=None, window=24, search=None):
        for frame in frames:
            self.wait()
            yield bicubic_pil(frame, 4)


def picture(number, width, height):
    "Soft colours that move, as (h, w, 3) in [0, 1]."
    x, y = np.meshgrid(np.linspace(0, 3, width) + number / 9, np.linspace(0, 2, height))
    return np.stack([0.5 + 0.4 * np.sin(x + y), 0.5 + 0.4 * np.cos(2 * x), 0.5 + 0.35 * np.sin(y - x)], -1)


def encoded(rgb, matrix, full, bits):
    "The formula of the standards, written out: planes Y, U and V of full size."
    red, blue = MATRICES[matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    colours = [(rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    unit = 2 ** (bits - 8)
    if full:
        planes = [luma * (2**bits - 1), *(c * (2**bits - 1) + 128 * unit for c in colours)]
    else:
        planes = [(16 + 219 * luma) * unit, *((128 + 224 * c) * unit for c in colours)]
    return [plane.round() for plane in planes]


def fill(plane, values, sample):
    rows = np.zeros((plane.height, plane.line_size // np.dtype(sample).itemsize), sample)
    rows[:, : plane.width] = values[: plane.height, : plane.width]
    plane.update(rows)


def film(
    path, count=5, size=(32, 24), stamps=None, matrix=1, full=False, bits=8, tagged=True, turned=0, sound=False, texts=None, **options
):
    "A clip without loss, with a sound and subtitles if they are wanted; its frames as tensors."
    needs = [(texts, av.container.OutputContainer, "add_mux_stream"), (turned, av.video.stream.VideoStream, "set_display_rotation")]
    if any(wanted and not hasattr(*place) for wanted, *place in needs):
        pytest.skip("this PyAV can't make such a clip")
    path, frames, clock = str(path), [], Fraction(1, 1000)
    with av.open(path, "w", options=options) as box:
        box.metadata["title"] = "A walk"
        lossless = {"crf": "0"} if bits == 8 else {"x265-params": "lossless=1:log-level=error"}
        video = box.add_stream("libx264" if bits == 8 else "libx265", rate=25, options=lossless)
        (video.width, video.height), video.pix_fmt = size, "yuv444p" if bits == 8 else "yuv444p10le"
        video.codec_context.time_base = clock
        if tagged:
            video.codec_context.colorspace, video.codec_context.color_range = matrix, 1 + full
        if turned:
            video.set_display_rotation(turned)
        audio = box.add_stream("aac", rate=48000) if sound else None
        if sound:
            audio.layout, audio.metadata["language"] = "mono", "deu"
        subtitles = box.add_mux_stream("mov_text" if path.endswith("mp4") else "subrip") if texts else None
        for number, stamp in enumerate(stamps or range(0, 40 * count, 40)):
            rgb = picture(number, *size)
            frames.append(torch.from_numpy(rgb).float().movedim(-1, 0)[None])
            frame = av.VideoFrame(*size, video.pix_fmt)
            for plane, values in zip(frame.planes, encoded(rgb, matrix, full, bits)):
                fill(plane, values, np.uint8 if bits == 8 else np.uint16)
            frame.pts, frame.time_base = stamp, clock
            if tagged:
                frame.colorspace, frame.color_range = matrix, 1 + full
            box.mux(video.encode(frame))
        box.mux(video.encode())
        for block in range(count * 40 * 48 // 1024 if sound else 0):
            samples = (8000 * np.sin(np.arange(1024) / 20 + block)).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts = 48000, 1024 * block
            box.mux(audio.encode(frame))
        if sound:
            box.mux(audio.encode())
        for start, text in texts or []:
            data = text.encode()
            packet = av.Packet(len(data).to_bytes(2, "big") + data if path.endswith("mp4") else data)
            packet.stream, packet.time_base = subtitles, clock
            packet.pts = packet.dts = start
            packet.duration = 40
            box.mux(packet)
    return frames


def packets(path, kind):
    "Time and contents of the packets of the streams of a kind."
    with av.open(str(path)) as box:
        streams = [stream for stream in box.streams if stream.type == kind]
        return [(float(p.pts * p.time_base), bytes(p)) for p in box.demux(streams) if p.size] if streams else []


def smaller(sr):
    "An enlarged picture at its first size."
    return torch.nn.functional.avg_pool2d(sr, 4)


def times(path):
    clip = read_clip(path)
    return [stamp * clip.time_base for stamp, _ in clip.stamped()]


def error(frames, others):
    "The mean error of the enlarged frames, in steps of 8 bits."
    pairs = list(zip(frames, others, strict=True))
    return max((a - smaller(b)).abs().mean().item() for a, b in pairs) * 255


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours(tmp_path, matrix, full, bits):
    frames = film(tmp_path / "in.mp4", 3, matrix=matrix, full=full, bits=bits)
    clip = read_clip(tmp_path / "in.mp4")
    assert max((a - b).abs().mean() for a, b in zip(frames, clip, strict=True)) * 255 < (0.7 if bits == 8 else 0.25)
    for out in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        upscale_video(tmp_path / "in.mp4", out=out, model=Enlarger())
        result = read_clip(out)
        assert (result.colour.matrix, result.colour.full, result.bits) == (matrix, full, bits)
        assert error(frames, result) < 1.5
        with av.open(str(out)) as box:
            context = box.streams.video[0].codec_context
            assert (context.name, context.pix_fmt) == (("h264", "yuv420p") if bits == 8 else ("hevc", "yuv420p10le")) or full
            assert bits == 8 or out.suffix == ".mkv" or context.codec_tag == "hvc1"


def test_colours_that_are_not_named(tmp_path):
    "Players take a small clip for BT.601, and would take the large result for BT.709 if it did not say what it is."
    frames = film(tmp_path / "in.mp4", 2, (400, 300), matrix=6, tagged=False)
    upscale_video(tmp_path / "in.mp4", out=tmp_path / "out.mp4", model=Enlarger())
    assert read_clip(tmp_path / "out.mp4").colour.matrix == 6 and error(frames, read_clip(tmp_path / "out.mp4")) < 1.5


@pytest.mark.parametrize("out", ["out.MP4", "out.mov", "out.mkv"])
def test_times_that_vary(tmp_path, out):
    stamps = [0, 40, 80, 333, 350, 1000, 1001, 2500]
    film(tmp_path / "in.mp4", stamps=stamps)
    assert times(tmp_path / "in.mp4") == [Fraction(stamp, 1000) for stamp in stamps]
    upscale_video(tmp_path / "in.mp4", out=tmp_path / out, model=Enlarger())
    assert times(tmp_path / out) == times(tmp_path / "in.mp4")


def test_the_clock_of_television(tmp_path):
    clip = read_clip(_folder(tmp_path / "frames", 6), Fraction(30000, 1001))
    write_clip(clip.stamped(), tmp_path / "in.mp4", clip)
    upscale_video(tmp_path / "in.mp4", out=tmp_path / "out.mp4", model=Enlarger())
    assert times(tmp_path / "out.mp4") == [Fraction(1001 * n, 30000) for n in range(6)]
    film(tmp_path / "in.ts", 4, sound=True, output_ts_offset="10")
    upscale_video(tmp_path / "in.ts", out=tmp_path / "ts.mp4", model=Enlarger())
    before, after = ([packets(tmp_path / name, kind)[0][0] for kind in ("video", "audio")] for name in ("in.ts", "ts.mp4"))
    assert min(before) > 9 and min(after) == pytest.approx(0, abs=0.03), "its clock starts anywhere"
    assert after[1] - after[0] == pytest.approx(before[1] - before[0], abs=0.001), "but picture and sound are together"
    assert np.diff([float(when) for when in times(tmp_path / "ts.mp4")]) == pytest.approx(0.04, abs=1e-4)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_sound_and_subtitles(tmp_path, kind, caplog):
    source, out = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    film(source, 15, sound=True, texts=[(40, "Look"), (400, "There it is")])
    upscale_video(source, out=out, model=Enlarger())
    for stream in ("audio", "subtitle"):
        before, after = packets(source, stream), packets(out, stream)
        assert [data for _, data in before] == [data for _, data in after] and before
        assert [when for when, _ in before] == pytest.approx([when for when, _ in after], abs=1e-3)
    with av.open(str(out)) as box:
        assert box.metadata["title"] == "A walk" and box.streams.audio[0].metadata["language"] == "deu"
        assert [stream.type for stream in box.streams] == ["video", "audio", "subtitle"]
    assert not caplog.records
    other = tmp_path / f"other.{'mkv' if kind == 'mp4' else 'mp4'}"
    upscale_video(source, out=other, model=Enlarger())
    assert len(packets(other, "audio")) == len(packets(source, "audio")) and not packets(other, "subtitle")
    assert len(caplog.records) == 1 and "subtitle" in caplog.text and "may hold it" in caplog.text


def test_chapters(tmp_path):
    film(tmp_path / "film.mkv", 25)
    marks = [(0, 400, "first"), (400, 1000, "second")]
    with av.open(str(tmp_path / "film.mkv")) as film_, av.open(str(tmp_path / "in.mkv"), "w") as box:
        stream = box.add_stream_from_template(film_.streams.video[0])
        chapter = lambda n, start, end, title: dict(id=n, start=start, end=end, time_base=Fraction(1, 1000), metadata=dict(title=title))
        box.set_chapters([chapter(n, *mark) for n, mark in enumerate(marks, 1)])
        for packet in film_.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                box.mux(packet)
    upscale_video(tmp_path / "in.mkv", out=tmp_path / "out.mp4", model=Enlarger())
    with av.open(str(tmp_path / "out.mp4")) as box:
        found = [(c["start"] * c["time_base"] * 1000, c["metadata"]["title"]) for c in box.chapters()]
    assert found == [(0, "first"), (400, "second")]


@pytest.mark.parametrize("turned", [90, 180, -90])
def test_turned_as_the_camera_was(tmp_path, turned):
    frames = film(tmp_path / "in.mp4", 2, turned=turned)
    frames = [frame.rot90(turned // 90, (2, 3)) for frame in frames]
    upscale_video(tmp_path / "in.mp4", out=tmp_path / "out.mp4", model=Enlarger())
    with av.open(str(tmp_path / "out.mp4")) as box:
        assert next(box.decode(video=0)).rotation == 0, "it is upright, and is not to be turned again"
    assert error(frames, read_clip(tmp_path / "out.mp4")) < 1.5


@pytest.mark.parametrize("size", [(31, 21), (1, 1), (17, 40)])
@pytest.mark.parametrize("count", [1, 2])
def test_odd_sizes_and_single_frames(tmp_path, size, count):
    frames = film(tmp_path / "in.mp4", count, size)
    upscale_video(tmp_path / "in.mp4", out=tmp_path / "out.mp4", model=Enlarger())
    result = read_clip(tmp_path / "out.mp4")
    assert (result.width, result.height, result.count) == (4 * size[0], 4 * size[1], count)
    assert error(frames, result) < (3 if min(size) > 1 else 5)


def _folder(folder, count, size=(20, 16), bits=8):
    folder.mkdir()
    for number in range(count):
        x = torch.from_numpy(picture(number, *size)).float().movedim(-1, 0)[None]
        write_image(x, folder / f"frame{number + 8}.png", bits)
    return folder


def test_folders(tmp_path):
    source = _folder(tmp_path / "frames", 5, (19, 13))
    frames = list(read_clip(source))
    assert upscale_video(source, model=Enlarger()) == tmp_path / "frames_x4"
    assert sorted(f.name for f in (tmp_path / "frames_x4").iterdir()) == sorted(f"frame{n}.png" for n in range(8, 13))
    assert error(frames, read_clip(tmp_path / "frames_x4")) < 1
    upscale_video(source, out=tmp_path / "out.mp4", model=Enlarger(), rate=10)
    assert times(tmp_path / "out.mp4") == [Fraction(n, 10) for n in range(5)] and error(frames, read_clip(tmp_path / "out.mp4")) < 2
    film(tmp_path / "in.mkv", 3, bits=10)
    upscale_video(tmp_path / "in.mkv", out=tmp_path / "deep", model=Enlarger())
    assert sorted(f.name for f in (tmp_path / "deep").iterdir()) == ["000001.png", "000002.png", "000003.png"]
    assert read_clip(tmp_path / "deep").bits == 16
    with pytest.raises(ValueError, match="is not empty: choose another one"):
        upscale_video(source, out=tmp_path / "deep", model=Enlarger())


def test_cut_off(tmp_path, caplog):
    film(tmp_path / "whole.mp4", 20, (64, 48), sound=True, movflags="faststart")
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * 0.8)])
    upscale_video(tmp_path / "cut.mp4", out=tmp_path / "out.mp4", model=Enlarger())
    count = read_clip(tmp_path / "out.mp4").count
    assert 5 < count < 20 and len(caplog.records) == 1
    assert f"cut.mp4 is damaged or cut off: the {count} of about 20 frames that can be read are used." in caplog.text
    assert packets(tmp_path / "out.mp4", "audio")


def test_a_trimmed_clip_is_not_cut_off(tmp_path, caplog):
    "Frames before the beginning are in the file for the decoder only."
    film(tmp_path / "film.mp4", 20)
    with av.open(str(tmp_path / "film.mp4")) as film_, av.open(str(tmp_path / "in.mp4"), "w") as box:
        stream = box.add_stream_from_template(film_.streams.video[0])
        for packet in film_.demux(video=0):
            if packet.dts is not None:
                shift = round(Fraction(2, 10) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                box.mux(packet)
    upscale_video(tmp_path / "in.mp4", out=tmp_path / "out.mp4", model=Enlarger())
    assert times(tmp_path / "out.mp4") == [Fraction(n, 25) for n in range(15)] and not caplog.records


def test_damaged_in_the_middle(tmp_path, caplog):
    film(tmp_path / "in.mkv", 60, (64, 48))
    data = bytearray((tmp_path / "in.mkv").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = os.urandom(300)
    (tmp_path / "in.mkv").write_bytes(data)
    upscale_video(tmp_path / "in.mkv", out=tmp_path / "out.mp4", model=Enlarger())
    assert 20 < read_clip(tmp_path / "out.mp4").count <= 60


def _song(path, cover):
    with av.open(str(path), "w") as box:
        stream = box.add_stream("aac", rate=48000)
        stream.layout = "mono"
        if cover:
            picture_stream = box.add_stream("png", rate=1)
            picture_stream.width, picture_stream.height, picture_stream.pix_fmt = 16, 16, "rgb24"
            picture_stream.disposition = av.stream.Disposition.attached_pic.value
            box.mux(picture_stream.encode(av.VideoFrame(16, 16, "rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate = 48000
        box.mux(stream.encode(frame))
        box.mux(stream.encode())


@pytest.mark.parametrize(
    "args, why",
    [
        ("song.mp4 --no-ref", "song.mp4 holds no video"),
        ("cover.mp4 --no-ref", "cover.mp4 holds no video"),
        ("letter.mp4 --no-ref", "letter.mp4 is no video"),
        ("empty.mp4 --no-ref", "empty.mp4 is empty"),
        ("head.mp4 --no-ref", "head.mp4 is damaged or cut off before its first frame"),
        ("no_end.mp4 --no-ref", "no_end.mp4 is no video, or its head or its end is missing"),
        ("photo.png --no-ref", "photo.png is a picture: c2m upscale"),
        ("void --no-ref", "void holds no frames"),
        ("mixed --no-ref", "b.png has 30 x 20 pixels, but the first frame has 40 x 20"),
        ("missing.mp4 --no-ref", "There is no file or folder missing.mp4"),
        ("good.mp4", "--no-ref"),
        ("good.mp4 --ref missing.png", "There is no file missing.png"),
        ("good.mp4 --ref tiny.png", "smaller than a patch of 12"),
        ("good.mp4 --no-ref -o out.avi", "name it out.mp4 or with .mov, .mkv"),
        ("good.mp4 --no-ref -o none/out.mp4", "There is no folder none"),
        ("good.mp4 --no-ref -o none/frames", "There is no folder none"),
        ("good.mp4 --no-ref -o void.mp4", "void.mp4 exists already"),
        ("good.mp4 --no-ref -o good.mp4 --force", "good.mp4 is the source"),
        ("good.mp4 --no-ref -o mixed", "The folder mixed is not empty"),
        ("good.mp4 --no-ref -o photo --force", "photo is a file: name a folder"),
        ("good.mp4 --no-ref --rate 25", "good.mp4 is a video and has its own"),
        ("mixed --no-ref --rate 1/0", "rate is 1/0, but has to be frames a second"),
        ("good.mp4 --no-ref --window 0", "window is 0"),
        ("good.mp4 --no-ref --search propagate", "sees each frame alone"),
        ("good.mp4 --no-ref --model none", "There is no network 'none'"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, capsys, monkeypatch, args, why):
    monkeypatch.chdir(tmp_path)
    film("good.mp4", 3, (40, 20))
    film("whole.mp4", 8, (40, 20), movflags="faststart")
    data = (tmp_path / "whole.mp4").read_bytes()
    for name, content in {"letter.mp4": b"this is no film", "empty.mp4": b"", "void.mp4": b"dear", "photo": b"dear"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "head.mp4").write_bytes(data[: data.index(b"mdat") + 40])
    (tmp_path / "no_end.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:-700])
    _song("song.mp4", cover=False), _song("cover.mp4", cover=True)
    (tmp_path / "void").mkdir(), (tmp_path / "mixed").mkdir()
    for name, size in {"photo": (20, 20), "tiny": (20, 11), "mixed/a": (20, 40), "mixed/b": (20, 30)}.items():
        write_image(torch.rand(1, 3, *size), f"{name}.png")
    before = tree(tmp_path)
    model = () if "--model" in args else ("--model", "c2m-tiny")
    code, out, err = in_process(capsys, "upscale-video", *args.split(), *model)
    is_told(code, out, err, why)
    after = tree(tmp_path)
    made = {str(path.relative_to(tmp_path)) for path in after.keys() - before.keys()}
    assert before.items() <= after.items()
    assert made <= ({"mixed_x4/a.png", "mixed_x4.parts/run.json"} if args.startswith("mixed") else set()), "nothing is left behind"


def test_by_the_command(tmp_path, capsys, monkeypatch):
    from c2m_blocks.cli import main

    monkeypatch.chdir(tmp_path)
    film("in.mp4", 2, (20, 16))
    write_image(torch.rand(1, 3, 40, 50), "ref.png")
    main(["upscale-video", "in.mp4", "--ref", "ref.png", "--model", "c2m-tiny"])
    assert "written to in_x4.mp4" in capsys.readouterr().out
    net = RefSRNet.from_pretrained("c2m-tiny")
    for frame, sr in zip(read_clip("in.mp4"), read_clip("in_x4.mp4"), strict=True):
        with torch.no_grad():
            assert (net(frame, read_image("ref.png")).clamp(0, 1) - sr).abs().mean() < 6 / 255


def test_full_disk(tmp_path):
    film(tmp_path / "in.mp4", 30, (64, 48))
    before, limits = tree(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(ValueError, match="could not be written .File too large.: nothing was left behind"):
            upscale_video(tmp_path / "in.mp4", out=tmp_path / "out.mp4", model=Enlarger())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert tree(tmp_path) == before


SLOW = """
import signal, sys
sys.path.insert(0, {tests!r})
from test_video_files import Enlarger
from c2m_blocks import video_files
from c2m_blocks.cli import main
video_files.prepare_model = lambda name: Enlarger({seconds})
video_files._PART = 4
signal.signal(signal.SIGINT, signal.default_int_handler)
main(["upscale-video", *sys.argv[1:]])
"""


@contextmanager
def running(folder, *args, seconds=0.2):
    "The command as a process, with a network that takes its time, and parts of four frames."
    script = SLOW.format(tests=os.path.dirname(__file__), seconds=seconds)
    command = [sys.executable, "-c", script, "in.mkv", "--no-ref", "-o", "out.mkv", "--window", "2", *args]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def waits_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    "A shell that starts the tests in the background makes them deaf to it."
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def whole(tmp_path, monkeypatch):
    "A clip, and what an uninterrupted run makes of it."
    monkeypatch.setattr("c2m_blocks.video_files._PART", 4)
    film(tmp_path / "in.mkv", 14, sound=True, texts=[(40, "Look"), (480, "There it is")])
    upscale_video(tmp_path / "in.mkv", out=tmp_path / "whole.mkv", model=Enlarger(), window=2)
    return tmp_path


def same(folder):
    return all(packets(folder / "whole.mkv", kind) == packets(folder / "out.mkv", kind) for kind in ("video", "audio", "subtitle"))


def test_ctrl_c(whole):
    with running(whole) as process:
        waits_for(whole / "out.mkv.parts" / "000000.mkv")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "\nwhat is done is in out.mkv; go on with --resume\n"
    done = len(times(whole / "out.mkv"))
    assert 4 <= done < 14 and times(whole / "out.mkv") == times(whole / "whole.mkv")[:done]
    assert error([smaller(frame) for frame in list(read_clip(whole / "whole.mkv"))[:done]], read_clip(whole / "out.mkv")) < 1
    sound = packets(whole / "out.mkv", "audio")
    assert sound and sound[-1][0] < 0.04 * done, "it ends with the last frame"
    upscale_video(whole / "in.mkv", out=whole / "out.mkv", model=Enlarger(), window=2, resume=True)
    assert same(whole) and sorted(f.name for f in whole.iterdir()) == ["in.mkv", "out.mkv", "whole.mkv"]


def test_ctrl_c_at_once(whole):
    with running(whole, seconds=30) as process:
        waits_for(whole / "out.mkv.parts" / "run.json")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == ""
    assert sorted(f.name for f in whole.iterdir()) == ["in.mkv", "whole.mkv"], "nothing was done, and nothing is left"


def test_kill(whole):
    with running(whole) as process:
        waits_for(whole / "out.mkv.parts" / "000001.mkv")
        process.kill()
        process.wait()
    assert not (whole / "out.mkv").exists()
    with pytest.raises(ValueError, match="holds an interrupted run: go on with --resume"):
        upscale_video(whole / "in.mkv", out=whole / "out.mkv", model=Enlarger(), window=2)
    with pytest.raises(ValueError, match="holds a run with another window and another search"):
        upscale_video(whole / "in.mkv", out=whole / "out.mkv", model=Enlarger(), window=4, search="coarse", resume=True)
    with running(whole, "--resume", seconds=0) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "") and same(whole)
    assert sorted(f.name for f in whole.iterdir()) == ["in.mkv", "out.mkv", "whole.mkv"]


def test_resume_where_there_is_nothing_to_resume(whole):
    upscale_video(whole / "in.mkv", out=whole / "out.mkv", model=Enlarger(), window=2, resume=True)
    assert same(whole)
    with pytest.raises(ValueError, match="out.mkv exists already"):
        upscale_video(whole / "in.mkv", out=whole / "out.mkv", model=Enlarger(), window=2, resume=True)


class Stops(Exception):
    pass


def stopped(frames, at):
    for number, frame in enumerate(frames):
        if number == at:
            raise Stops
        yield frame


@pytest.mark.parametrize("kind", ["pictures", "clips"])
@pytest.mark.parametrize("out", ["mp4", "folder"])
def test_a_resumed_run_is_like_one_without_a_break(tmp_path, monkeypatch, kind, out):
    monkeypatch.setattr("c2m_blocks.video_files._PART", 4)
    torch.manual_seed(0)
    net = RefSRNet.from_pretrained("c2m-tiny") if kind == "pictures" else RefBasicVSR.preset("c2m-video-tiny").eval()
    write_image(torch.rand(1, 3, 40, 48), tmp_path / "ref.png")
    run = partial(upscale_video, _folder(tmp_path / "frames", 11), [tmp_path / "ref.png"], model=net, window=2)
    whole, resumed = (tmp_path / f"{name}{'.mp4' if out == 'mp4' else ''}" for name in ("whole", "resumed"))
    run(out=whole)
    place = "c2m_blocks.video_files.encode_frames" if out == "mp4" else "c2m_blocks.video_files.write_frames"
    with monkeypatch.context() as patch:
        from c2m_blocks import clip_writing

        write, left = getattr(clip_writing, place.split(".")[-1]), iter([None, 2] if out == "mp4" else [6])

        def broken(pictures, *args):
            at = next(left)
            write(pictures if at is None else stopped(pictures, at), *args)

        patch.setattr(place, broken)
        with pytest.raises(Stops):
            run(out=resumed)
    run(out=resumed, resume=True)
    differences = [(a - b).abs() for a, b in zip(read_clip(whole), read_clip(resumed), strict=True)]
    mean, most = (255 * max(reduce(x).item() for x in differences) for reduce in (torch.mean, torch.amax))
    if (out, kind) == ("folder", "pictures"):  # the last bits of floats may turn a step
        assert mean < 0.01 and most < 1.1
    else:  # which an encoder may answer with other decisions
        assert mean < 2


def test_progress(tmp_path, monkeypatch):
    "It is shown to a person only, with the time that is left."
    film(tmp_path / "in.mp4", 4)
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    upscale_video(tmp_path / "in.mp4", out=tmp_path / "silent.mp4", model=Enlarger())
    assert shown.getvalue() == ""
    shown.isatty = lambda: True
    monkeypatch.setattr("c2m_blocks.core.tqdm", partial(sys.modules["tqdm"].tqdm, mininterval=0))
    upscale_video(tmp_path / "in.mp4", out=tmp_path / "out.mp4", model=Enlarger(0.8))
    assert "3/4" in shown.getvalue() and "<00:0" in shown.getvalue()
