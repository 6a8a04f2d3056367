"""`c2m eval` as processes of their own: cut off, shared, and on pictures that are not as they should be."""

import json
import os
import subprocess
import sys

import pytest

from c2m_blocks import RefSRNet
from c2m_blocks.core import read_image, write_image
from c2m_blocks.pretrained import ASSETS

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


@pytest.fixture
def pairs(tmp_path):
    "Five small pairs, crops of the bundled one."
    folder = tmp_path / "pairs"
    folder.mkdir()
    for kind in ("input", "ref"):
        whole = read_image(ASSETS / "demo" / f"rock_leaves_{kind}.png")
        for i in range(5):
            write_image(whole[..., 40 * i : 40 * i + 64, 60 * i : 60 * i + 80], folder / f"{i}_{kind}.png")
    return folder


def evaluated(pairs, *args, out="out", launcher=()):
    command = [*(launcher or [sys.executable]), "-m", "c2m_blocks", "eval", "--dataset", "pairs", "--root", pairs, "-o", pairs.parent / out]
    return subprocess.run([*map(str, command), *map(str, args)], env=ENVIRONMENT, capture_output=True, text=True)


def rows(pairs, model, out="out"):
    summary = json.loads((pairs.parent / out / model / "summary.json").read_text())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in summary["rows"]]


def test_cut_off_it_goes_on(pairs):
    done = evaluated(pairs)
    assert done.returncode == 0, done.stderr
    assert "5 pictures" in done.stdout and "border 4" in done.stdout
    whole, run = rows(pairs, "c2m-tiny"), pairs.parent / "out" / "c2m-tiny"
    assert [row["name"] for row in whole] == list("01234")
    (run / "summary.json").unlink()
    lines = (run / "rows-0.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace('"psnr": ', '"psnr": 1')  # to be seen again
    (run / "rows-0.jsonl").write_text("\n".join([*lines[:3], lines[3][:20]]))
    assert evaluated(pairs).returncode == 0
    again = rows(pairs, "c2m-tiny")
    assert again[1]["psnr"] > 100 and [row for row in again if row["name"] != "1"] == [row for row in whole if row["name"] != "1"]


def test_processes_share_the_work(pairs):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29532"]
    done = evaluated(pairs, out="shared", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pairs, 5 pictures") == 2, "once at the start and once below the table"
    assert evaluated(pairs, out="alone").returncode == 0
    assert rows(pairs, "c2m-tiny", "shared") == rows(pairs, "c2m-tiny", "alone")
    assert len((pairs.parent / "shared" / "c2m-tiny" / "rows-1.jsonl").read_text().split("\n")) == 3


def test_a_broken_picture_fails_at_the_end(pairs):
    (pairs / "2_ref.png").write_bytes((pairs / "2_ref.png").read_bytes()[:500])
    done = evaluated(pairs)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "1 of 5 pictures could not be measured" in done.stderr and "2_ref.png is damaged or cut off" in done.stderr
    assert "bicubic: " in done.stderr and "c2m-tiny: " in done.stderr, "the others are measured all the same"
    assert not (pairs.parent / "out" / "table.md").exists()


def test_other_weights_are_another_run(pairs):
    for _ in range(2):
        RefSRNet.preset("c2m-tiny").save_pretrained(pairs.parent / "net")
        done = evaluated(pairs, "--model", pairs.parent / "net", "--refs", "none")
    assert done.returncode == 2 and "holds a run with another weights" in done.stderr


@pytest.mark.parametrize("args, message", [
    (["--refs", "2"], "0 has 1 references and no number 2"),
    (["--model", "nothing"], "There is no network 'nothing'"),
    (["--border", "40"], "smaller than"),
    (["--model", "bicubic", "nothing"], "There is no network 'nothing'"),
])
def test_bad_input(pairs, args, message):
    done = evaluated(pairs, *args)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_pictures_of_the_same_names_are_other_pictures(pairs):
    assert evaluated(pairs, "--refs", "none").returncode == 0
    write_image(1 - read_image(pairs / "3_input.png"), pairs / "3_input.png")
    done = evaluated(pairs, "--refs", "none")
    assert done.returncode == 2 and "holds a run with another truth" in done.stderr


def test_the_best_of_several_references(pairs):
    lines = [f"{i}_input.png,{ref}_ref.png" for i in (0, 1) for ref in (4, i)]
    (pairs / "pairs.csv").write_text("\n".join(["hr,ref", *lines]))
    for refs in ("1", "2", "best", "all"):
        done = evaluated(pairs / "pairs.csv", "--refs", refs, out=refs)
        assert done.returncode == 0, done.stderr
    best, second = rows(pairs, "c2m-tiny", "pairs/best"), rows(pairs, "c2m-tiny", "pairs/2")
    assert best == second, "each is shown with its own"
    assert rows(pairs, "c2m-tiny", "pairs/1") != second


def test_names_that_a_figure_could_misread(pairs):
    for kind in ("input", "ref"):
        (pairs / f"0_{kind}.png").rename(pairs / f"a$b_{{ $x 100%_{kind}.png")
    done = evaluated(pairs, "--refs", "none")
    assert done.returncode == 0 and (pairs.parent / "out" / "contact.png").exists(), done.stderr
