"""The command `c2m`, as a process of its own: what it writes, and where."""

import os
import re
import subprocess
import sys

import pytest
from PIL import Image

from c2m_blocks import RefSRNet


@pytest.fixture
def folder(tmp_path):
    "A small picture that was taken with the camera on its side, and two references of other sizes."
    side = Image.Exif()
    side[0x0112] = 6
    Image.effect_noise((20, 24), 80).convert("RGB").save(tmp_path / "lr.jpg", exif=side)
    Image.effect_noise((60, 50), 80).convert("RGBA").save(tmp_path / "ref.png")
    Image.effect_noise((40, 90), 80).save(tmp_path / "ref.webp")
    return tmp_path


def c2m(folder, *args):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "c2m_blocks", *map(str, args)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def succeeds(folder, *args):
    done = c2m(folder, *args)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_help_and_version(folder):
    said = succeeds(folder, "--help")
    assert all(command in said for command in ("upscale", "match", "demo"))
    assert re.fullmatch(r"c2m_blocks \d+\.\d+\.\d+\S*\n", succeeds(folder, "--version"))


def test_upscale_beside_the_input(folder):
    said = succeeds(folder, "upscale", "lr.jpg", "--ref", "ref.png", "--ref", "ref.webp")
    assert "lr_x4.png" in said
    with Image.open(folder / "lr_x4.png") as result:
        assert (result.size, result.mode) == ((4 * 24, 4 * 20), "RGB"), "turned as the camera was"


@pytest.mark.parametrize("name", ["out.jpg", "out.webp"])
def test_upscale_formats(folder, name):
    succeeds(folder, "upscale", "lr.jpg", "--no-ref", "-o", name)
    with Image.open(folder / name) as result:
        kind = {"jpg": "JPEG"}.get(name[4:], name[4:].upper())
        assert (result.format, result.size) == (kind, (96, 80))


def test_never_overwrites_unasked(folder):
    out = folder / "out.png"
    out.write_text("dear")
    done = c2m(folder, "upscale", "lr.jpg", "--no-ref", "-o", "out.png")
    assert done.returncode == 2 and "--force" in done.stderr and out.read_text() == "dear"
    succeeds(folder, "upscale", "lr.jpg", "--no-ref", "-o", "out.png", "--force")
    with Image.open(out) as result:
        assert result.size == (96, 80)


def test_model_from_a_folder(folder):
    RefSRNet.preset("c2m-tiny").save_pretrained(folder / "net")
    succeeds(folder, "upscale", "lr.jpg", "--ref", "ref.png", "--model", "net", "-o", "out.png")
    assert (folder / "out.png").exists()


def test_match_draws(folder):
    succeeds(folder, "match", "lr.jpg", "--ref", "ref.png", "-o", "matches.png")
    with Image.open(folder / "matches.png") as figure:
        assert min(figure.size) > 300


def test_demo_says_what_the_reference_is_worth(folder):
    said = succeeds(folder, "demo")
    values = [float(value) for value in re.findall(r"(\d+\.\d+) dB", said)]
    assert len(values) == 3 and values == sorted(values), "bicubic, without reference, with it"
    with Image.open(folder / "c2m_demo.png") as figure:
        assert figure.size[0] > 1000
