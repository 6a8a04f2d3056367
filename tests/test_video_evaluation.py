"""Clips are measured as the paper's tables say: worked out once more in numpy, from files; cut off, exchanged, and damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from c2m_blocks import RefSRNet, read_image, write_image
from c2m_blocks.cli import main
from c2m_blocks.comparison import check_published, difference
from c2m_blocks.degradation import Bicubic
from c2m_blocks.evaluation import evaluate
from c2m_blocks.flow import SPyNet
from c2m_blocks.inference import upscale
from c2m_blocks.metrics import psnr
from c2m_blocks.pretrained import ASSETS
from c2m_blocks.protocols import EvalProtocol
from c2m_blocks.resample import bicubic
from c2m_blocks.testsets import find_entries
from c2m_blocks.video import BasicVSR, RefBasicVSR
from c2m_blocks.video_evaluation import _AS_VID4, ClipEvalSet, measure_clip, visible_in_both, warping_error
from c2m_blocks.weights import save_flow

NAMES = {"vid4": ("calendar", "city", "foliage", "walk"), "reds4": ("000", "011", "015", "020")}


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def panned(tmp_path, dataset, count=4, h=48, w=64):
    "Clips of windows that wander over the bundled photo, each its own way, in the layout of a set."
    photo = read_image(ASSETS / "demo" / "rock_leaves_input.png")
    root = tmp_path / dataset
    for number, name in enumerate(NAMES[dataset]):
        folder = root / {"vid4": "GT", "reds4": "train_sharp"}[dataset] / name
        folder.mkdir(parents=True)
        for i in range(count + number):  # of several lengths, so that a mean of all frames is another one
            y, x = 60 * number + 3 * i, 80 * number + 5 * i
            write_image(photo[..., y : y + h, x : x + w], folder / f"{i:08}.png")
    return root


def c2m(*args):
    main([str(arg) for arg in args])


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


# ---- the same, without any of our code


def keys(x):
    x = np.abs(x)
    return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def imresize(x, scale):
    "MATLAB's, along both axes of (h, w, c), in float64."
    for _ in range(2):
        n = x.shape[0]
        matrix = np.zeros((round(n * scale), n))
        shrink = min(scale, 1)
        for i in range(len(matrix)):
            centre = (i + 0.5) / scale - 0.5
            for j in range(int(np.floor(centre - 2 / shrink)), int(np.ceil(centre + 2 / shrink)) + 1):
                matrix[i, min(j % (2 * n), 2 * n - 1 - j % (2 * n))] += keys(shrink * (centre - j))
        matrix /= matrix.sum(1, keepdims=True)
        x = np.tensordot(matrix, x, 1).swapaxes(0, 1)
    return x


def bicubic_frame(file):
    "The true frame and MATLAB's bicubic from its LR version, of 8 bits."
    bits = lambda x: np.clip(np.floor(x + 0.5), 0, 255)
    hr = np.asarray(Image.open(file).convert("RGB")).astype(float)
    return bits(imresize(bits(imresize(hr, 0.25)), 4)), hr


def decibels(sr, hr, luma):
    if luma:
        sr, hr = (x @ np.array([65.481, 128.553, 24.966]) / 255 + 16 for x in (sr, hr))
    return 10 * np.log10(255**2 / np.mean((sr - hr) ** 2))


@pytest.mark.parametrize("dataset", ["vid4", "reds4"])
def test_the_bicubic_row_in_numpy(tmp_path, dataset):
    root = panned(tmp_path, dataset)
    c2m("eval", "--dataset", dataset, "--root", root, "--part", "--model", "bicubic", "-o", tmp_path / "out")
    found = summary(tmp_path / "out" / "bicubic")
    expected = []
    for folder in sorted((root / {"vid4": "GT", "reds4": "train_sharp"}[dataset]).iterdir()):
        frames = [bicubic_frame(file) for file in sorted(folder.iterdir())[1:]]
        expected.append([decibels(*pair, luma=dataset == "vid4") for pair in frames])
    for row, values in zip(found["rows"], expected):
        assert row["by_frame"]["psnr"] == pytest.approx(values, abs=1e-6)
        assert row["psnr"] == pytest.approx(np.mean(values), abs=1e-6)
    assert found["mean"]["psnr"] == pytest.approx(np.mean([np.mean(values) for values in expected]), abs=1e-6)
    assert abs(found["mean"]["psnr"] - np.mean(sum(expected, []))) > 0.01, "not the mean of all frames"
    with pytest.raises(ValueError, match=f"psnr of bicubic on {dataset} is .* is published"):
        check_published(dataset, found)


def test_the_table(tmp_path, capsys):
    c2m("eval", "--dataset", "vid4", "--root", panned(tmp_path, "vid4"), "--part", "-o", tmp_path / "out")
    said = capsys.readouterr().out
    assert "vid4, 22 of 171 frames, 4 of them references and not measured: cropped" in said and "border 0" in said and "/ ." in said
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"bicubic", "c2m-tiny", "frames.png", "table.md"}
    rows = (tmp_path / "out" / "c2m-tiny" / "rows.csv").read_text().splitlines()
    assert rows[0] == "name,frames,psnr,ssim,warping,warping_truth,seconds" and rows[4].startswith("walk,6,")
    assert len(list((tmp_path / "out" / "c2m-tiny" / "pictures" / "walk").iterdir())) == 7, "the frame that is shown is upscaled, too"


def test_a_frame_that_is_not_of_the_clip_is_shown_to_reds(tmp_path):
    root = panned(tmp_path, "reds4")
    assert [entry.measured[0] for entry in find_entries("reds4", root, part=True)] == [1] * 4
    for name in NAMES["reds4"]:
        (root / "train_orig" / name).mkdir(parents=True)
        for i in range(2):
            write_image(read_image(root / "train_sharp" / name / f"{i:08}.png"), root / "train_orig" / name / f"{i:08}.png")
    entries = find_entries("reds4", root, part=True)
    assert [entry.measured[0] for entry in entries] == [0] * 4 and entries[0].refs[0].parts[-3] == "train_orig"


# ---- networks


def frames_of(tmp_path):
    return [read_image(file) for file in find_entries("vid4", panned(tmp_path, "vid4"), part=True)[0].frames]


def test_frame_by_frame_is_what_upscale_gives(tmp_path):
    frames, net = frames_of(tmp_path), RefSRNet.from_pretrained("c2m-tiny")
    before = net.matcher.search
    found = measure_clip(net, frames, frames[:1], measured=range(1, len(frames)))["by_frame"]["psnr"]
    each = [upscale(_AS_VID4.bicubic_degradation(x), frames[0], net, poses="upright").mul(255).round() / 255 for x in frames[1:]]
    assert found == pytest.approx([psnr(sr, x).item() for sr, x in zip(each, frames[1:])], abs=1e-3)
    assert net.matcher.search == before and found[0] > measure_clip(net, frames)["by_frame"]["psnr"][1] + 1, "it was shown"


def test_a_network_for_video_sees_the_whole_clip(tmp_path):
    frames = frames_of(tmp_path)
    torch.manual_seed(0)
    net = RefBasicVSR.preset("c2m-video-tiny").eval()
    net.save_pretrained(tmp_path / "net")
    found = measure_clip(tmp_path / "net", frames, frames[:1])["by_frame"]["psnr"]
    with torch.no_grad():
        whole = net(torch.stack([_AS_VID4.bicubic_degradation(x) for x in frames], 1), frames[0])[0].clamp(0, 1).mul(255).round() / 255
    assert found == pytest.approx([psnr(sr[None], x).item() for sr, x in zip(whole, frames)], abs=1e-3)
    assert measure_clip(net, frames)["by_frame"]["psnr"] != found, "without the reference it is another result"
    alone = BasicVSR(SPyNet(2, 4), channels=(8, 8, 8), blocks=(1, 1, 0)).eval()
    assert measure_clip(alone, frames, frames[:1])["psnr"] == measure_clip(alone, frames)["psnr"], "it takes none, as bicubic does"


# ---- steadiness


def test_the_warping_error_in_numpy():
    generator = torch.Generator().manual_seed(0)
    frame, other = torch.rand(2, 1, 3, 9, 11, generator=generator, dtype=torch.float64)
    flow = torch.rand(1, 2, 9, 11, generator=generator, dtype=torch.float64) + torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    back = -flow + 1.2 * torch.rand(1, 2, 9, 11, generator=generator, dtype=torch.float64)
    flow[..., 5:] = flow[..., 5:].mean((2, 3), keepdim=True)  # smooth there, all edges elsewhere

    def at(x, y, picture):
        j, i = int(np.floor(x)), int(np.floor(y))
        corners = [(i + a, j + b, (y - i if a else 1 - y + i) * (x - j if b else 1 - x + j)) for a in (0, 1) for b in (0, 1)]
        return sum(weight * picture[:, i, j] for i, j, weight in corners if weight > 0)

    f, g, a, b = (x[0].numpy() for x in (flow, back, frame, other))
    seen, errors = np.zeros((9, 11), bool), []
    for y in range(9):
        for x in range(11):
            there = x + f[0, y, x], y + f[1, y, x]
            if not (0 <= there[0] <= 10 and 0 <= there[1] <= 8):
                continue
            here, returned = f[:, y, x], at(*there, g)
            right = f[:, y, min(x + 1, 10)] - here
            down = f[:, min(y + 1, 8), x] - here
            cancels = ((here + returned) ** 2).sum() <= 0.01 * ((here**2).sum() + (returned**2).sum()) + 0.5
            seen[y, x] = cancels and (right**2).sum() + (down**2).sum() <= 0.01 * (here**2).sum() + 0.002
            if seen[y, x]:
                errors.append(((a[:, y, x] - at(*there, b)) ** 2).mean())
    assert 5 < seen.sum() < 50 and (visible_in_both(flow, back)[0].numpy() == seen).all()
    assert warping_error(frame, other, flow, visible_in_both(flow, back)).item() == pytest.approx(np.mean(errors))


def test_flicker_is_seen_by_a_flow_from_a_file(tmp_path, capsys):
    torch.manual_seed(0)
    save_flow(SPyNet(2, 4), tmp_path / "flow")
    root = panned(tmp_path, "vid4")
    command = ["eval", "--dataset", "vid4", "--root", root, "--part", "--model", "bicubic", "-o", tmp_path / "out", "--flow"]
    c2m(*command, tmp_path / "flow")
    assert "| WARPING |" in (said := capsys.readouterr().out) and "The truth's own warping error is 0.0" in said
    first = summary(tmp_path / "out" / "bicubic")["rows"]
    assert first[0]["by_frame"]["warping"][0] is None
    assert first[0]["warping_truth"] > first[0]["warping"] > 0, "this flow knows nothing, and bicubic is blurred"
    c2m(*command, tmp_path / "flow")
    assert summary(tmp_path / "out" / "bicubic")["rows"] == first
    save_flow(SPyNet(2, 4), tmp_path / "another")
    with pytest.raises(SystemExit, match="2"):
        c2m(*command, tmp_path / "another")
    assert "holds a run with another flow" in capsys.readouterr().err


# ---- runs


def test_cut_off_it_goes_on(tmp_path, capsys):
    root = panned(tmp_path, "vid4")
    command = ["eval", "--dataset", "vid4", "--root", root, "--part", "--model", "bicubic", "-o", tmp_path / "out"]
    c2m(*command)
    run = tmp_path / "out" / "bicubic"
    whole = summary(run)["rows"]
    (run / "summary.json").unlink()
    lines = (run / "rows-0.jsonl").read_text().splitlines()
    (run / "rows-0.jsonl").write_text("\n".join([*lines[:3], lines[3][:200]]))
    c2m(*command)
    again = summary(run)["rows"]
    assert again[:2] == whole[:2], "not even the seconds are new"
    for row in (*whole, *again):
        row.pop("seconds")
    assert again == whole
    write_image(1 - read_image(root / "GT" / "city" / "00000002.png"), root / "GT" / "city" / "00000002.png")
    with pytest.raises(SystemExit, match="2"):
        c2m(*command)
    assert "holds a run with another truth" in capsys.readouterr().err


def test_a_damaged_frame_spoils_its_clip_alone(tmp_path, capsys):
    root = panned(tmp_path, "vid4")
    frame = root / "GT" / "city" / "00000002.png"
    frame.write_bytes(frame.read_bytes()[:500])
    with pytest.raises(SystemExit, match="2"):
        c2m("eval", "--dataset", "vid4", "--root", root, "--part", "--model", "bicubic", "-o", tmp_path / "out")
    said = capsys.readouterr().err
    assert "1 of 4 clips could not be measured" in said and "city: " in said and "00000002.png is damaged or cut off" in said
    assert not (tmp_path / "out" / "bicubic" / "summary.json").exists()


def test_what_is_measured_of_other_frames_is_not_compared(tmp_path):
    entries = find_entries("vid4", panned(tmp_path, "vid4"), part=True)
    others = [replace(entry, refs=entry.frames[1:2]) for entry in entries]
    first, second = (evaluate("bicubic", ClipEvalSet(of), tmp_path / name, "vid4") for name, of in (("a", entries), ("b", others)))
    with pytest.raises(ValueError, match="were measured with other frames"):
        difference(first, second, same_refs=False)


@pytest.mark.parametrize("args, message", [
    (["--protocol", "c2-matching"], "pad is 'black', which is for a picture and its reference"),
    (["--refs", "best"], "refs is 'best', which is for pictures"),
    (["--refs", "2"], "calendar has 1 references and no number 2"),
    (["--flow", "nothing"], "There is no network 'nothing'"),
    ([], "holds 22 frames, but vid4 has 171"),
])
def test_bad_input(tmp_path, capsys, args, message):
    part = ["--part"] if args else []
    with pytest.raises(SystemExit, match="2"):
        c2m("eval", "--dataset", "vid4", "--root", panned(tmp_path, "vid4"), *part, "--model", "bicubic", "-o", tmp_path / "out", *args)
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_presets_are_the_published_ones():
    said = str(EvalProtocol.preset("vid4"))
    assert said.endswith("LR by MATLAB bicubic; reference 1; luma (BT.601), results rounded to 8 bits, border 0")
    assert "RGB" in str(EvalProtocol.preset("reds4"))
    made_up = dict(model="bicubic", mean=dict(psnr=23.795, ssim=0.6347), protocol=vars(EvalProtocol.preset("vid4")))
    assert check_published("vid4", made_up) == dict(psnr=(23.795, 23.79), ssim=(0.6347, 0.635))


@pytest.mark.parametrize("scale", [2, 3])
def test_clips_of_another_factor(tmp_path, capsys, scale):
    torch.manual_seed(0)
    root = panned(tmp_path, "vid4")
    RefSRNet.preset("c2m-tiny", scale=scale).save_pretrained(tmp_path / "net")
    c2m("eval", "--dataset", "vid4", "--root", root, "--part", "--model", "bicubic", tmp_path / "net", "-o", tmp_path / "out")
    said = capsys.readouterr().out
    assert f"multiples of {scale}; LR by MATLAB bicubic, x{scale}; reference 1" in said and "border 0" in said
    entries = find_entries("vid4", root, part=True)
    files = {entry.name: entry.frames for entry in entries}
    for row in summary(tmp_path / "out" / "bicubic")["rows"]:
        frame = read_image(files[row["name"]][1])
        frame = frame[..., : 48 // scale * scale, : 64 // scale * scale]
        again = bicubic(Bicubic(scale, "matlab")(frame), scale).clamp(0, 1).mul(255).round() / 255
        assert row["by_frame"]["psnr"][0] == pytest.approx(psnr(again, frame).item(), abs=1e-9)
    with pytest.raises(ValueError, match=f"upscales by {scale}, but the protocol is for x4"):
        measure_clip(tmp_path / "net", files["city"])


def test_a_clip_is_degraded_as_a_whole(tmp_path):
    given = []

    def dark(hr, rng):
        given.append(hr.shape[:-3])
        return Bicubic()(hr) * rng.uniform(0.3, 0.9)

    entries = find_entries("vid4", panned(tmp_path, "vid4"), part=True)[:2]
    eval_set, same = ClipEvalSet(entries, degrade=dark), ClipEvalSet(entries, degrade=dark)
    assert "LR by dark (" in str(eval_set.protocol) and "dark" in eval_set.identity()["protocol"]["degradation"]
    rows = evaluate("bicubic", eval_set, tmp_path / "out", "vid4")["rows"]
    assert given[-2:] == [(4,), (5,)], "all frames of a clip at once"
    assert rows[0]["psnr"] != rows[1]["psnr"] and rows == evaluate("bicubic", same, tmp_path / "out", "vid4")["rows"]
