"""What a training promises: killed and resumed it ends the same, several processes learn like one, and bad input is told in a sentence."""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from c2m_blocks import (
    ContrastiveMatcher,
    DescriptorEncoder,
    Discriminator,
    DynamicAggregation,
    RefSRNet,
    TextureEncoder,
    bicubic_pil,
    objectives,
    psnr,
    read_checkpoint,
    read_image,
)
from c2m_blocks.checkpoints import load_checkpoint, save_checkpoint
from c2m_blocks.choosing import album_pairs
from c2m_blocks.cli import main
from c2m_blocks.core import seed_everything
from c2m_blocks.data import PhotoPairs, SyntheticPairs, find_photos, listed_pairs
from c2m_blocks.pretrained import ASSETS
from c2m_blocks.recipe_base import read_recipe, write_recipe
from c2m_blocks.recipes import STAGES, Restore, RestoreGAN, Student, Teacher
from c2m_blocks.run_cards import read_metrics
from c2m_blocks.training import train
from c2m_blocks.weights import load_matcher, save_matcher

DEMO = ASSETS / "demo"
SMALL = dict(size=64, batch=2, workers=0, precision="float32")


class Own(nn.Module):
    "A network as a user might write it: bicubic, corrected by what the reference shows."

    scale = 4

    def __init__(self, width=4):
        super().__init__()
        self.look, self.show = nn.Conv2d(6, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, lr, ref=None):
        up = bicubic_pil(lr, self.scale)
        seen = torch.zeros_like(up) if ref is None else F.interpolate(ref, up.shape[-2:])
        return up + self.show(self.look(torch.cat([up, seen], 1)).relu())


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    "Six photos cut from the two of the demo, in a folder with one that is cut off and one that is small."
    folder = tmp_path_factory.mktemp("photos")
    for file in sorted(DEMO.glob("*.png")):
        image = Image.open(file)
        for i in range(3):
            image.crop((80 * i, 0, 80 * i + 220, 220)).save(folder / f"{file.stem}_{i}.png")
    (folder / "torn.png").write_bytes(file.read_bytes()[:4000])
    Image.new("RGB", (20, 300)).save(folder / "small.jpg")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    "A pair to measure on, whose reference is smaller than the picture."
    folder = tmp_path_factory.mktemp("pairs")
    for file in DEMO.glob("*.png"):
        size = (132, 100) if "input" in file.name else (96, 112)
        Image.open(file).resize(size).save(folder / file.name)
    return folder


def command(*options) -> list[str]:
    return [sys.executable, "-m", "c2m_blocks", "train", *map(str, options)]


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(*options, **more) -> subprocess.Popen:
    return subprocess.Popen(command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ONE_THREAD, **more)


def same(a: Path, b: Path) -> bool:
    a, b = (load_file(run / "model" / "model.safetensors") for run in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_killed_interrupted_and_resumed(photos, tmp_path):
    "Killed by the system, then stopped by Ctrl-C, it ends with the same bits; of workers it does not depend."
    options = ["student", "--data", photos, "--size", 64, "--batch", 1, "--steps", 60, "--save-every", 2, "--track"]
    whole, parts = start(*options, "-o", tmp_path / "whole", "--workers", 0), tmp_path / "parts"
    for after, end in (("0000004.pt", signal.SIGKILL), ("0000012.pt", signal.SIGINT)):
        process = start(*options, "-o", parts, "--resume", "--workers", 1, start_new_session=True)
        deadline = time.monotonic() + 120
        while not (parts / "checkpoints" / after).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if end is signal.SIGINT:
            os.killpg(process.pid, end)  # as a terminal does: to the workers, too
        else:
            os.kill(process.pid, end)
        _, errors = process.communicate(timeout=60)
        if end is signal.SIGINT:
            assert process.returncode == 130 and "Traceback" not in errors, errors
        else:
            assert process.returncode == -end, errors  # its worker may print that nobody answers any more
    assert 12 <= load_checkpoint(parts / "checkpoints")["step"] < 60
    finished = start("student", "--resume", "-o", parts, "--track")
    assert finished.wait(timeout=300) == 0, finished.stderr.read()
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    assert same(tmp_path / "whole", parts)
    steps = [row["step"] for row in read_metrics(parts)]
    assert steps == sorted(set(steps)) and steps[-1] == 60


def test_adversarial_training_resumes_with_both_optimizers(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(objectives, "Discriminator", partial(Discriminator, width=2))
    numbers = dict(data=photos, pretrained=False, steps=4, l1_steps=1, save_every=1)
    recipe = RestoreGAN.preset("c2m-tiny", net=Own, **numbers, **SMALL)
    whole = train(recipe, tmp_path)
    for step in (3, 4):
        (tmp_path / "checkpoints" / f"{step:07}.pt").unlink()
    assert same_weights(train(recipe, tmp_path, resume=True), whole)
    assert {"discriminator", "perceptual", "adversarial"} <= read_metrics(tmp_path)[-1].keys()


def moved(one: dict, two: dict, start: dict) -> float:
    "How far apart two trainings ended, as a part of how far the first went."
    apart = lambda a, b: sum((a[name] - b[name]).abs().sum().item() for name in one)
    return apart(one, two) / apart(one, start)


TWICE = """
import json, sys
from c2m_blocks.cli import main
for options in json.loads(sys.argv[1]):
    main(options)
"""


def test_two_processes_learn_like_one(photos, tmp_path):
    "Two processes with batches of two see and learn what one sees with batches of four; here they do so twice."
    script, stages, options = tmp_path / "twice.py", (Student, Restore), {}
    script.write_text(TWICE)
    for stage in stages:
        numbers = ["--data", photos, "--size", 64, "--steps", 10, "--warmup", 0, "--workers", 0, "--precision", "float32", "--track"]
        options[stage] = ["train", stage.stage, *map(str, numbers), *(["--alone", "0"] if stage is Restore else [])]
        main([*options[stage], "--batch", "4", "-o", str(tmp_path / f"{stage.stage}-one")])
    both = [[*options[stage], "--batch", "2", "-o", str(tmp_path / f"{stage.stage}-two")] for stage in stages]
    # on CPUs accelerate's own launcher needs MPI, torch's does not
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, json.dumps(both)]
    two = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=ONE_THREAD | {"ACCELERATE_USE_CPU": "true"})
    assert two.returncode == 0, two.stderr
    for stage in stages:
        runs = [tmp_path / f"{stage.stage}-{name}" for name in ("one", "two")]
        assert [json.loads((run / "run.json").read_text())["processes"] for run in runs] == [1, 2]
        one, two = ([row["total"] for row in read_metrics(run)] for run in runs)
        assert len(one) == 2 and two == pytest.approx(one, rel=1e-3)
        # Adam moves a weight by the rate even if its gradient is nothing but rounding, and rounding may decide between two equal matches;
        # trained on batches of two, one process is 0.7 of the way apart
        one, two = (load_file(run / "model" / "model.safetensors") for run in runs)
        seed_everything(0)
        assert moved(one, two, stage.preset("c2m-tiny").objective().trained.state_dict()) < 1e-2


def test_batches_in_parts_learn_like_whole_ones(photos, tmp_path):
    recipe = Restore.preset("c2m-tiny", net=Own, data=photos, alone=0.0, steps=3, warmup=0, **SMALL | dict(batch=4))
    whole = train(recipe, tmp_path / "whole").state_dict()
    parts = train(replace(recipe, batch=2, accumulate=2), tmp_path / "parts").state_dict()
    halves = train(replace(recipe, batch=2), tmp_path / "halves").state_dict()
    seed_everything(0)
    start = recipe.objective().trained.state_dict()
    assert moved(whole, parts, start) < 1e-2 < 0.1 < moved(whole, halves, start)


LOSSES = {  # of the first two steps, as they were before networks and factors could be chosen
    "teacher": dict(volume=(9.71897, 9.2458)),
    "student": dict(volume=(10.8205, 8.67618), kl=(0.893183, 0.921036)),
    "restore": dict(l1=(0.0977933, 0.0902127)),
    "restore-gan": dict(l1=(0.120559, 0.117744), discriminator=(None, 0.769744)),
}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_from_photos_to_weights(name, pairs, tmp_path):
    "A small form of each stage, validated on the way: its losses are those that they were, and its weights can be used."
    extra = dict(l1_steps=1) if name == "restore-gan" else dict(teacher="c2m-tiny") if name == "student" else {}
    numbers = dict(data=DEMO, validate=pairs, validate_every=2, steps=2) | extra
    trained = train(STAGES[name].preset("c2m-tiny", **numbers, **SMALL), tmp_path / "run", trackers=("tensorboard",))
    assert not trained.training
    rows = read_metrics(tmp_path / "run")
    for part, losses in LOSSES[name].items():
        assert [row.get(part) for row in rows] == [known and pytest.approx(known, rel=1e-4) for known in losses]
    assert rows[-1]["aee"] > 0 and (name in ("teacher", "student") or 10 < rows[-1]["psnr"] < 60)
    load = load_matcher if name in ("teacher", "student") else RefSRNet.from_pretrained
    assert same_weights(trained, load(tmp_path / "run" / "model"))
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    assert list((tmp_path / "run" / "log").rglob("events*"))


@pytest.mark.parametrize("stage, losses", [
    (Teacher(pretrained=False), dict(margin=(0.886277, 1.09479))),
    (Student.preset("c2m-tiny", volume=False, teacher="c2m-tiny"), dict(margin=(1.217, 1.23481), kl=(0.893183, 0.917078))),
])
def test_the_margin_is_what_it_was(stage, losses, tmp_path):
    train(replace(stage, data=str(DEMO), steps=2, **SMALL), tmp_path)
    for part, known in losses.items():
        assert [row[part] for row in read_metrics(tmp_path)] == pytest.approx(list(known), rel=1e-4)


def test_a_network_of_your_own_from_photos_to_weights_and_on(photos, pairs, tmp_path, capsys):
    "It is trained, measured, saved, resumed to the same bits, and loaded; a file can't build it."
    run = tmp_path / "run"
    numbers = dict(data=photos, validate=pairs, validate_every=4, steps=4, save_every=2)
    recipe = Restore.preset("c2m-tiny", net=Own, **numbers, **SMALL)
    whole = train(recipe, run)
    assert read_metrics(run)[-1]["psnr"] > 10 and "aee" not in read_metrics(run)[-1]
    assert {"model.safetensors", "config.json", "README.md"} == {file.name for file in (run / "model").iterdir()}
    card = (run / "model" / "README.md").read_text()
    assert "# Own\n\nA network as a user might write it" in card and 'net.built_by = "Own"' in card
    again = Own()
    again.load_state_dict(read_checkpoint(run / "model" / "model.safetensors"))
    assert same_weights(again, whole)
    (run / "checkpoints" / "0000004.pt").unlink()
    with pytest.raises(ValueError, match=r"The run's network was Own \(\w+\) and is Own \(\w+\): go on with one that has the same layers"):
        train(replace(recipe, net=Own(8)), run, resume=True)
    assert same_weights(train(replace(recipe, net=Own()), run, resume=True), whole), "the same layers, with weights that do not count"
    with pytest.raises(SystemExit) as left:
        main(["train", "restore", "--resume", "-o", str(run)])
    sentence = capsys.readouterr().err.strip()
    assert left.value.code == 2 and "recipe.toml: The recipe trains a network of your own (Own), which no file can hold" in sentence
    assert len(sentence.splitlines()) == 1


def test_a_network_that_is_given_itself_is_trained_itself(photos, tmp_path):
    net = Own()
    before, recipe = Own(), Restore.preset("c2m-tiny", net=net, data=photos, steps=2, **SMALL)
    before.load_state_dict(net.state_dict())
    average = train(recipe, tmp_path)
    assert average is not net and not same_weights(net, before) and not same_weights(average, before)
    state = load_checkpoint(tmp_path / "checkpoints")
    assert state["recipe"]["net"] == state["network"] and state["network"]["type"] == "Own"


def test_a_matcher_around_an_encoder_of_your_own(photos, tmp_path):
    net = ContrastiveMatcher(DescriptorEncoder(channels=8, width=8), pad=True)
    trained = train(Student.preset("c2m-tiny", net=net, data=photos, validate=DEMO, steps=1, **SMALL), tmp_path)
    assert same_weights(load_matcher(tmp_path / "model"), trained) and read_metrics(tmp_path)[-1]["aee"] > 0


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("name", STAGES)
def test_other_factors_take_a_step(name, scale, photos, pairs, tmp_path, caplog):
    "With all losses of the stage, measured in the end; the network that comes out has the factor."
    teacher = RefSRNet.preset("c2m-tiny", scale=scale).matcher
    save_matcher(teacher, tmp_path / "teacher")
    extra = {
        "teacher": dict(volume=False), "student": dict(teacher=tmp_path / "teacher"), "restore": dict(matcher=tmp_path / "teacher"),
        "restore-gan": dict(l1_steps=0),
    }[name]
    numbers = dict(data=photos, validate=pairs, steps=1, scale=scale) | extra
    trained = train(STAGES[name].preset("c2m-tiny", **numbers, **SMALL | dict(size=48)), tmp_path / "run")
    row = read_metrics(tmp_path / "run")[-1]
    assert trained.scale == scale and row["aee"] > 0 and row["total"] > 0
    assert (f"c2m train student --scale {scale}" in caplog.text) == (name == "restore-gan"), "it has no matcher that has learnt"
    with pytest.raises(ValueError, match="of another architecture" if name == "restore" else "enlarges 4 times, but the recipe's scale is"):
        changes = dict(matcher="c2m-tiny") if name == "restore" else dict(start="c2m-tiny")
        STAGES[name].preset("c2m-tiny", scale=scale, size=48, **changes).build_net()


def test_a_reference_of_another_size_is_measured_with_the_papers_guide(pairs, tmp_path):
    "Input and reference get one size by black at right and bottom, for the time of the measurement."
    torch.manual_seed(0)
    aggregators = [DynamicAggregation(8, 8, groups=4, guide="raw") for _ in range(3)]
    net = RefSRNet(ContrastiveMatcher(), TextureEncoder((8, 8, 8)), aggregators, (8, 8, 8), (1, 1, 1, 1)).eval()
    with torch.no_grad():
        figures, pictures = Restore(net=net, validate=pairs, size=96).measure(net)
        hr, ref = (read_image(pairs / f"rock_leaves_{name}.png") for name in ("input", "ref"))
        assert hr.shape[-2:] == (100, 132) and ref.shape[-2:] == (112, 96)
        black = torch.zeros(2, 1, 3, 112, 132)
        black[0, ..., :100, :], black[1, ..., :96] = hr, ref
        sr = net(bicubic_pil(black[0], 0.25), black[1])[..., :100, :].clamp(0, 1)
    assert figures["psnr"] == pytest.approx(psnr(sr, hr, border=4).item()) and figures["aee"] > 0
    assert [x.shape for x in pictures.values()] == [(3, 100, 4 * 132)]


def test_the_callers_accelerate_stays_as_it_was(photos, tmp_path):
    "A training has a precision of its own, and so has the next one in the process."
    recipe = Restore.preset("c2m-tiny", net=Own, data=photos, steps=1, **SMALL)
    states = PartialState, AcceleratorState, GradientState
    known = lambda: [dict(state._shared_state) for state in states]
    for state in states:
        state._reset_state()
    try:
        train(recipe, tmp_path / "before")
        assert known() == [{}, {}, {}]
        mine = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
        before = known()
        train(recipe, tmp_path / "other")
        train(replace(recipe, precision="bfloat16"), tmp_path / "same")
        with pytest.raises(ValueError, match="holds something already"):
            train(recipe, tmp_path / "other")
        assert known() == before and mine.mixed_precision == "bf16" and mine.gradient_accumulation_steps == 4
    finally:
        for state in states:
            state._reset_state()


@pytest.mark.parametrize("stage", [Teacher, Student, Restore, RestoreGAN])
def test_the_papers_networks_take_a_step(stage, photos, tmp_path):
    "With all losses of the stage; whatever is to learn gets a gradient."
    extra = dict(l1_steps=0) if stage is RestoreGAN else {}
    if stage is Student:
        save_matcher(Teacher(pretrained=False).build_net(), tmp_path)
        extra = dict(teacher=str(tmp_path))
    recipe = stage(data=str(photos), pretrained=False, size=96, batch=1, **extra)
    pairs, objective = recipe.dataset(), recipe.objective()
    batch, parts = torch.utils.data.default_collate([pairs[0, 0]]), set()
    for name, groups in objective.groups(recipe.lr).items():
        losses, made = objective(batch, 0, name)
        batch |= made
        losses["total"].backward()
        parts |= losses.keys()
        assert losses["total"].isfinite()
        assert all(p.grad is not None and p.grad.isfinite().all() for group in groups for p in group["params"])
    restoring = {"l1", "total"}
    of = {Teacher: {"margin", "total"}, Student: {"margin", "kl", "total"}, Restore: restoring}
    assert parts == of.get(stage, restoring | {"perceptual", "adversarial", "discriminator"})


def test_pairs_do_not_depend_on_workers(photos):
    pairs = SyntheticPairs(find_photos(photos), 64)
    order = [[(epoch, i) for i in range(3)] for epoch in range(2)]
    without, with_two = (list(torch.utils.data.DataLoader(pairs, batch_sampler=order, num_workers=n)) for n in (0, 2))
    assert all(torch.equal(a["ref"], b["ref"]) and a["name"] == b["name"] for a, b in zip(without, with_two))


def test_an_album_is_paired_by_matching(photos):
    "Crops of the two views of a rock are found to belong together, noise to nothing."
    album = [f for f in find_photos(photos) if f.stem.endswith("_1")]
    noise = photos / "noise.png"
    Image.effect_noise((220, 220), 80).convert("RGB").save(noise)
    try:
        pairs = album_pairs([*album, noise], load_matcher("c2m-tiny"), coherent=0.2)
    finally:
        noise.unlink()
    assert set(pairs.values()) == {tuple(album), tuple(album[::-1])}
    item = PhotoPairs(pairs, load_matcher("c2m-tiny"), size=96)[0]
    assert item["hr"].shape == item["ref"].shape == (3, 96, 96)


def test_unusable_photos_are_left_out_and_named(photos, caplog):
    assert len(find_photos(photos)) == 6
    assert "2 of 8 pictures are left out: small.jpg (20 x 300 pixels), torn.png (can't be read)" in caplog.text


@contextmanager
def full_disk():
    "No file gets larger than 10 kB."
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    state = dict(step=1, recipe={}, objective={}, average={"x": torch.zeros(100_000)})
    save_checkpoint(state, tmp_path, 1, keep=3)
    with full_disk(), pytest.raises(ValueError, match="0000002.pt could not be written .*: make room"):
        save_checkpoint(dict(state, step=2), tmp_path, 2, keep=3)
    assert [file.name for file in tmp_path.iterdir()] == ["0000001.pt"]
    assert load_checkpoint(tmp_path)["step"] == 1


def test_a_full_disk_leaves_no_half_of_a_network(photos, tmp_path):
    recipe = Student.preset("c2m-tiny", data=str(photos), steps=1, **SMALL)
    with full_disk(), pytest.raises(ValueError, match="model.safetensors could not be written .*: make room"):
        train(recipe, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"recipe.toml", "run.json", "metrics.jsonl"}


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["student", "--data", "EMPTY"], "holds no photo"),
        (["student", "--data", "nowhere"], "There is no folder nowhere"),
        (["student"], "Say what to learn from"),
        (["student", "--data", "PHOTOS", "--teacher", "nowhere"], "There is no network 'nowhere'"),
        (["student", "--data", "PHOTOS", "--size", "30"], "multiple of 4"),
        (["student", "--data", "PHOTOS", "--steps", "0"], "steps is 0"),
        (["student", "--data", "PHOTOS", "--track", "paper"], "There is no tracker paper"),
        (["restore", "--data", "EMPTY/pairs.csv"], "is no table of pairs"),
        (["restore", "--data", "PHOTOS", "--validate", "EMPTY"], "holds no pairs"),
        (["student", "--recipe", "EMPTY/recipe.toml"], "recipe.toml"),
        (["student", "--data", "PHOTOS", "--workers", "-1"], "workers is -1"),
        (["restore", "--data", "PHOTOS", "--factors", "0.1"], "RefSRNet has 3 scales with offsets, but factors has 1"),
        (["restore", "--data", "PHOTOS", "--alone", "5"], "take a number from 0 to 1"),
        (["restore", "--data", "PHOTOS", "--network", "paper", "--no-pretrained", "--matcher", "c2m-tiny"], "is of another architecture"),
        (["restore", "--data", "PHOTOS", "--start", "MATCHER"], "holds a matcher alone"),
        (["restore", "--data", "PHOTOS", "--lr", "nan"], "lr is nan, but has to be a finite number"),
        (["restore-gan", "--data", "PHOTOS", "--steps", "100"], "l1_steps is 10000 of 100 steps"),
        (["restore", "--data", "PHOTOS", "--validate", "TORN"], "rock_input.png"),
        (["restore", "--data", "PHOTOS", "--validate", "LITTLE"], "rock_ref.png (10 x 10 pixels)"),
        (["restore", "--data", "PHOTOS", "--start", "c2m-tiny", "--network", "paper"], "add --network c2m-tiny"),
        (["student", "--data", "PHOTOS", "--recipe", "TORN/rock_input.png"], "rock_input.png is no text"),
        (["student", "--recipe", "TORN/teacher.toml"], "is of the stage 'teacher', not of 'student'"),
        (["student", "--data", "PHOTOS", "-o", "TORN/teacher.toml"], "teacher.toml is a file"),
    ],
)
def test_bad_input_is_one_sentence(options, sentence, photos, tmp_path, capsys, caplog):
    places = {name.upper(): tmp_path / name for name in ("empty", "torn", "matcher", "little")} | dict(PHOTOS=photos)
    places["EMPTY"].mkdir(), places["TORN"].mkdir(), places["LITTLE"].mkdir()
    for name, side in dict(rock_input=200, rock_ref=10).items():
        Image.new("RGB", (side, side)).save(places["LITTLE"] / f"{name}.png")
    for name in ("rock_input.png", "rock_ref.png"):
        (places["TORN"] / name).write_bytes(b"\x89PNG and no more")
    (places["TORN"] / "teacher.toml").write_text('stage = "teacher"\n')
    save_matcher(load_matcher("c2m-tiny"), places["MATCHER"])
    for name, place in places.items():
        options = [str(o).replace(name, str(place)) for o in options]
    options += [] if "--track" in options else ["--track"]
    with pytest.raises(SystemExit) as left:
        main(["train", *options, *([] if "-o" in options else ["-o", str(tmp_path / "run")])])
    told = capsys.readouterr().err
    assert left.value.code == 2 and len(told.strip().splitlines()) == 1 and sentence in told + caplog.text, told
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ValueError, match=r"pip install 'c2m_blocks\[train\]'"):
        train(Student.preset("c2m-tiny", data=str(photos)), tmp_path / "run")


def test_a_photo_that_vanishes_is_told_by_the_worker_in_a_sentence(tmp_path, monkeypatch):
    shutil.copytree(DEMO, tmp_path / "photos")
    recipe = Student.preset("c2m-tiny", data=str(tmp_path / "photos"), **SMALL | dict(workers=1))
    pairs = recipe.dataset()
    shutil.rmtree(tmp_path / "photos")
    monkeypatch.setattr(Student, "dataset", lambda self: pairs)
    with pytest.raises(ValueError, match=r"^\S+ can't be read any more [^\n]+: put it back, and go on from the last checkpoint\.$"):
        train(recipe, tmp_path / "run")


def test_a_recipe_without_tomli_names_the_extra(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10))
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(ValueError, match=r"pip install 'c2m_blocks\[train\]'"):
        read_recipe(Student, "steps = 500")


def test_alone_and_unrelated_are_drawn_apart(photos):
    pairs = Restore.preset("c2m-tiny", data=str(photos), alone=0.5, unrelated=0.5, size=32).dataset()
    drawn = {(bool(item["alone"]), bool(item["related"])) for item in (pairs[epoch, i] for epoch in range(6) for i in range(6))}
    assert len(drawn) == 4


def test_a_recipe_of_wrong_kinds_is_refused():
    for text in ('steps = "many"', 'lr = "1e-3"', "milestones = [0.5]", "cosine = 1"):
        with pytest.raises(ValueError, match="has to be of the kind"):
            read_recipe(Student, text)
    path = Student(data="photos 🙂")
    assert read_recipe(Student, write_recipe(path)) == path


def test_listed_pairs_want_their_columns(tmp_path):
    (tmp_path / "pairs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="needs hr and ref"):
        listed_pairs(tmp_path / "pairs.csv")
    (tmp_path / "pairs.csv").write_text("hr,ref\na.png\n")
    with pytest.raises(ValueError, match="Line 2 .* lacks its hr or its ref"):
        listed_pairs(tmp_path / "pairs.csv")
