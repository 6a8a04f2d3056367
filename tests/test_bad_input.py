"""Whatever is wrong: one sentence on standard error, exit code 2, and nothing half-written."""

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import c2m

from c2m_blocks import RefSRNet
from c2m_blocks.cli import main
from c2m_blocks.core import write_image
from c2m_blocks.inference import upscale


@pytest.fixture
def folder(tmp_path):
    "Two good pictures and all kinds of bad ones."
    for name, size in {"lr.png": (16, 12), "ref.png": (50, 60), "tiny.png": (40, 11), "deep.png": (9, 9)}.items():
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / name)
    whole = (tmp_path / "ref.png").read_bytes()
    Image.effect_noise((50, 60), 80).save(tmp_path / "whole.jpg")
    write_image(torch.rand(1, 3, 40, 40), tmp_path / "deep.png", bits=16)
    bad = {
        "text.png": b"this is a letter, not a picture",
        "empty.png": b"",
        "cut.png": whole[: len(whole) // 2],
        "cut_deep.png": (tmp_path / "deep.png").read_bytes()[:4000],
        "head.png": whole[:30],
        "cut.jpg": (tmp_path / "whole.jpg").read_bytes()[:-200],
        "flipped.png": whole[:200] + bytes(200) + whole[400:],
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "net").mkdir()
    return tmp_path


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_told(code, out, err, why):
    assert code == 2 and "Traceback" not in out + err
    assert err.startswith("c2m") and err.count("\n") == 1 and err.endswith("\n"), err
    assert why in err


def in_process(capsys, *args):
    "Exit code, standard output and error of the command without the two seconds of a new process."
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    "args, why",
    [
        ("upscale missing.png --no-ref", "There is no file missing.png"),
        ("upscale cut_deep.png --ref ref.png", "cut_deep.png is damaged or cut off"),
        ("upscale lr.png --ref tiny.png", "smaller than a patch of 12"),
        ("upscale lr.png --no-ref -o net", "net is a folder"),
        ("upscale lr.png --no-ref --model net", "net holds no"),
        ("match lr.png --ref text.png -o fig.png", "text.png is not a picture"),
        ("nonsense", "nonsense"),
    ],
)
def test_the_command_tells(folder, args, why):
    before = tree(folder)
    done = c2m(folder, *args.split())
    is_told(done.returncode, done.stdout, done.stderr, why)
    assert tree(folder) == before


@pytest.mark.parametrize(
    "args, why",
    [
        ("upscale lr.png --ref missing.png", "There is no file missing.png"),
        ("upscale text.png --no-ref", "text.png is not a picture"),
        ("upscale lr.png --ref empty.png", "empty.png is empty"),
        ("upscale cut.png --ref ref.png", "cut.png is damaged or cut off"),
        ("upscale lr.png", "--no-ref"),
        ("upscale lr.png --ref ref.png --no-ref", "--no-ref"),
        ("upscale --ref ref.png", "LR"),
        ("upscale lr.png --no-ref -o lr.png/out.png", "There is no folder lr.png"),
        ("upscale lr.png --no-ref --model none", "There is no network 'none'"),
        ("match lr.png --ref tiny.png -o fig.png", "smaller than a patch of 12"),
    ],
)
def test_more_is_told(folder, capsys, monkeypatch, args, why):
    monkeypatch.chdir(folder)
    before = tree(folder)
    is_told(*in_process(capsys, *args.split()), why)
    assert tree(folder) == before


@pytest.mark.parametrize("name", ["head.png", "cut.jpg", "flipped.png", "net"])
def test_unreadable_pictures(folder, capsys, name):
    is_told(*in_process(capsys, "upscale", folder / name, "--no-ref"), name)
    is_told(*in_process(capsys, "upscale", folder / "lr.png", "--ref", folder / name), name)


@pytest.mark.parametrize("args", ["match lr.png --ref ref.png", "demo", "upscale lr.png --ref ref.png"])
@pytest.mark.parametrize("out, why", [("net", "is a folder"), ("none/a.png", "no folder"), ("a.xyz", "does not end")])
def test_output_is_checked_before_the_work(folder, capsys, monkeypatch, args, out, why):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(RefSRNet, "from_pretrained", lambda name: pytest.fail("worked before it looked at the output"))
    is_told(*in_process(capsys, *args.split(), "-o", out), why)


def test_disk_that_takes_no_more(folder):
    # a limit on the size of files stands in for a full disk: the write fails in the middle
    before, limits = tree(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        done = c2m(folder, "upscale", "lr.png", "--ref", "ref.png", "-o", "out.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    is_told(done.returncode, done.stdout, done.stderr, "out.png could not be written")
    assert tree(folder) == before


@pytest.mark.parametrize("args", ["match lr.png --ref ref.png", "upscale lr.png --ref ref.png"])
def test_full_disk_leaves_nothing(folder, capsys, monkeypatch, args):
    def full(self, file, *args, **options):
        file.write_bytes(b"the first half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(folder)
    before = tree(folder)
    monkeypatch.setattr("PIL.Image.Image.save", full)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    is_told(*in_process(capsys, *args.split(), "-o", "out.png"), "No space left on device")
    assert tree(folder) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_read_only_folder(folder, capsys, monkeypatch, when):
    "Root may write everywhere, so the system's answer is made up."

    def refuse(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    if when == "before":
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    else:  # the disk became read-only while we were at work
        monkeypatch.setattr(Path, "touch", refuse)
    before = tree(folder)
    is_told(*in_process(capsys, "upscale", folder / "lr.png", "--no-ref"), "can't be written to")
    assert tree(folder) == before


@pytest.mark.parametrize("size", [(1, 1), (400, 1), (3, 1000), (1000, 3)])
def test_odd_sizes_work(folder, size):
    Image.effect_noise(size, 80).save(folder / "odd.png")
    main(["upscale", str(folder / "odd.png"), "--ref", str(folder / "ref.png")])
    with Image.open(folder / "odd_x4.png") as result:
        assert result.size == (4 * size[0], 4 * size[1])
    main(["match", str(folder / "odd.png"), "--ref", str(folder / "ref.png"), "-o", str(folder / "matches.png")])
    with Image.open(folder / "matches.png") as figure:
        assert max(figure.size) < 3000


@pytest.fixture(scope="module")
def net():
    return RefSRNet.preset("c2m-tiny").eval()


GOOD = torch.rand(1, 3, 20, 24)
BAD = {
    "nan": (GOOD.where(GOOD < 0.99, torch.nan), "NaN"),
    "infinite": (GOOD / 0, "NaN or infinite"),
    "grey": (GOOD[:, :1], "RGB"),
    "alpha": (torch.rand(1, 4, 20, 24), "RGB"),
    "8 bits": ((255 * GOOD).byte(), "divide an 8-bit image by 255"),
    "0 to 255": (255 * GOOD, "divide an 8-bit image by 255"),
    "no batch": (GOOD[0], "x[None]"),
    "colours last": (GOOD.movedim(1, -1), "x.movedim"),
    "numpy": (np.zeros((20, 24, 3), np.uint8), "ndarray"),
    "no pixel": (GOOD[..., :0], "no pixel"),
    "a name": ("lr.png", "read_image"),
}


@pytest.mark.parametrize("bad, why", BAD.values(), ids=BAD.keys())
def test_bad_tensors(net, bad, why):
    for call in (lambda: net(bad, GOOD), lambda: net(GOOD, [GOOD, bad]), lambda: upscale(bad, None, net)):
        with pytest.raises(ValueError) as told:
            call()
        assert why in str(told.value) and "\n" not in str(told.value)
