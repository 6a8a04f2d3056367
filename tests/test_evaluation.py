"""`c2m eval` as processes of their own: cut off, shared, and on pictures that are not as they should be."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from c2m_blocks import RefSRNet
from c2m_blocks.ablation import ablation
from c2m_blocks.cli import main
from c2m_blocks.comparison import check_published, contact_sheet, difference, results_table
from c2m_blocks.core import read_image, write_image
from c2m_blocks.degradation import Bicubic
from c2m_blocks.evaluation import evaluate
from c2m_blocks.metrics import psnr
from c2m_blocks.pretrained import ASSETS
from c2m_blocks.protocols import EvalProtocol, EvalSet
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.robustness import robustness
from c2m_blocks.testsets import pairs as find_pairs

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


# ---- other factors, other degradations


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.fixture(scope="module", params=[2, 3])
def net(request):
    torch.manual_seed(0)
    return RefSRNet.preset("c2m-tiny", scale=request.param).eval()


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("name", ["c2-matching", "ttsr", "masa"])
def test_bicubic_of_any_factor_worked_out_once_more(pairs, tmp_path, one_process, scale, name):
    eval_set = EvalSet(find_pairs(pairs)[:1], EvalProtocol.preset(name, scale=scale, luma=False))
    found = evaluate("bicubic", eval_set, tmp_path / "out")["rows"][0]["psnr"]
    hr = read_image(pairs / "0_input.png")  # 80 x 64
    border = dict(zip(("c2-matching", "ttsr", "masa"), (scale, 0, 0)))[name]
    if name == "masa":
        m = 8 * scale
        up, left = (-64 % m) // 2, (-80 % m) // 2
        padded = torch.nn.functional.pad(hr, (left, -80 % m - left, up, -64 % m - up), mode="replicate")
        sr = bicubic_pil(Bicubic(scale)(padded), scale)[..., up : up + 64, left : left + 80]
    else:
        hr = hr[..., : 64 // scale * scale, : 80 // scale * scale]
        sr = bicubic_pil(Bicubic(scale)(hr), scale)
    assert found == pytest.approx(psnr(sr, hr, border, luma=False).item(), abs=1e-9)


def test_a_network_of_another_factor_is_measured(pairs, tmp_path, one_process, net):
    eval_set = EvalSet(find_pairs(pairs)[:2], EvalProtocol.preset(scale=net.scale))
    base, own = evaluate("bicubic", eval_set, tmp_path / "base"), evaluate(net, eval_set, tmp_path / "own", name="untrained")
    table = results_table([base, own])
    assert f"LR by PIL bicubic, x{net.scale}; reference 1" in table and f"border {net.scale}" in table
    assert contact_sheet(eval_set, tmp_path / "own", tmp_path / "base").axes
    (row,) = ablation({"untrained": net}, eval_set)
    assert row["psnr"] == pytest.approx(own["mean"]["psnr"], abs=1e-3)
    with pytest.raises(ValueError, match=f"upscales by {net.scale}, but the protocol is for x4"):
        evaluate(net, EvalSet(eval_set.entries), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    other = evaluate("bicubic", EvalSet(eval_set.entries, EvalProtocol.preset("ttsr", border=net.scale)), tmp_path / "x4")
    with pytest.raises(ValueError, match="two protocols"):
        difference(base, other)
    with pytest.raises(ValueError, match=f"Only bicubic on .*, x{net.scale}"):
        check_published("set5", base)


def test_robustness_of_another_factor(net):
    photos = [ASSETS / "demo" / "rock_leaves_input.png"]
    rows = robustness(net, photos, size=96)
    assert np.isfinite([[row[name] for name in ("psnr", "psnr_alone", "gain", "aee")] for row in rows]).all()
    with pytest.raises(ValueError, match="multiple of the factor"):
        robustness(net, photos, size=97)


def test_the_command_takes_the_factor_from_the_models(pairs, tmp_path, one_process, net, capsys):
    command = ["eval", "--dataset", "pairs", "--root", str(pairs), "-o", str(tmp_path / "out"), "--model", "bicubic"]
    net.save_pretrained(tmp_path / "net")
    main([*command, str(tmp_path / "net")])
    assert f"multiples of {net.scale}, truth" in (said := capsys.readouterr().out) and f", x{net.scale};" in said
    assert (tmp_path / "out" / "contact.png").exists()
    with pytest.raises(SystemExit, match="2"):
        main([*command, str(tmp_path / "net"), "c2m-tiny"])
    said = capsys.readouterr().err
    assert f"net by {net.scale}, c2m-tiny by 4" in said and said.count("\n") == 1
    main(["ablation", "--from", str(pairs), "--steps", f"base={tmp_path / 'net'}"])
    assert f", x{net.scale};" in capsys.readouterr().out


def noisy(hr, rng):
    return (Bicubic()(hr) + torch.from_numpy(rng.normal(0, 0.1, hr[..., ::4, ::4].shape)).float()).clamp(0, 1)


def test_a_degradation_of_ones_own_is_part_of_the_run(pairs, tmp_path, one_process):
    entries = find_pairs(pairs)[:2]
    clean, first = EvalSet(entries), EvalSet(entries, degrade=noisy)
    assert torch.equal(first[1]["lr"], first[1]["lr"]) and not torch.equal(first[1]["lr"], clean[1]["lr"])
    assert torch.equal(first[1]["hr"], clean[1]["hr"])
    base, worse = evaluate("bicubic", clean, tmp_path / "clean"), evaluate("bicubic", first, tmp_path / "noisy")
    assert worse["mean"]["psnr"] < base["mean"]["psnr"] - 1 and "; LR by noisy (" in results_table([worse])
    assert evaluate("bicubic", EvalSet(entries, degrade=noisy), tmp_path / "noisy")["rows"] == worse["rows"], "it goes on"
    with pytest.raises(ValueError, match="two protocols"):
        difference(worse, base)

    def changed(hr, rng):
        return noisy(hr, rng) / 2

    changed.__name__ = "noisy"
    with pytest.raises(ValueError, match="holds a run with another protocol"):
        evaluate("bicubic", EvalSet(entries, degrade=changed), tmp_path / "noisy")


def test_one_of_several_references_is_of_another_factor_too(pairs, net):
    item = EvalSet(find_pairs(pairs), EvalProtocol(refs="own", scale=net.scale, multiple=net.scale))[0]
    assert torch.equal(item["refs"][0], item["lr"]) and item["hr"].shape[1] == net.scale * item["lr"].shape[1]
