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
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from c2m_blocks import RefSRNet
from c2m_blocks.checkpoints import load_checkpoint, save_checkpoint
from c2m_blocks.choosing import album_pairs
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


def command(*options) -> list[str]:
    return [sys.executable, "-m", "c2m_blocks", "train", *map(str, options)]


def run(*options, **more) -> subprocess.CompletedProcess:
    return subprocess.run(command(*options), capture_output=True, text=True, timeout=300, **more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_killed_and_resumed(photos, tmp_path):
    "Killed by the system in the middle, twice, it ends with the same bits; of workers it does not depend."
    options = ["restore-gan", "--data", photos, "--size", 64, "--batch", 2, "--steps", 10, "--save-every", 1, "--l1-steps", 3, "--track"]
    assert run(*options, "-o", tmp_path / "whole", "--workers", 0).returncode == 0
    parts = tmp_path / "parts"
    for after in ("0000002.pt", "0000006.pt"):
        process = subprocess.Popen(command(*options, "-o", parts, "--resume", "--workers", 1), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (parts / "checkpoints" / after).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finished = run("restore-gan", "--resume", "-o", parts, "--track")
    assert finished.returncode == 0, finished.stderr
    assert same(tmp_path / "whole", parts)
    steps = [row["step"] for row in read_metrics(parts)]
    assert steps == sorted(set(steps)) and steps[-1] == 10


def test_ctrl_c_saves_and_leaves(photos, tmp_path):
    options = ["student", "--data", photos, "--size", 64, "--batch", 2, "--steps", 5000, "--track", "-o", tmp_path / "run"]
    process = subprocess.Popen(command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not any(row["step"] >= 10 for row in read_metrics(tmp_path / "run")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["step"] >= 10


def moved(one: dict, two: dict, start: dict) -> float:
    "How far apart two trainings ended, as a part of how far the first went."
    apart = lambda a, b: sum((a[name] - b[name]).abs().sum().item() for name in one)
    return apart(one, two) / apart(one, start)


@pytest.mark.parametrize("stage", [Student, Restore])
def test_two_processes_learn_like_one(stage, photos, tmp_path):
    "Two processes with batches of two see and learn what one sees with batches of four."
    options = [stage.stage, "--data", photos, "--size", 64, "--steps", 20, "--warmup", 0, "--workers", 0]
    options += ["--precision", "float32", "--track", *(["--alone", 0] if stage is Restore else [])]
    assert run(*options, "--batch", 4, "-o", tmp_path / "one").returncode == 0
    # on CPUs accelerate's own launcher needs MPI, torch's does not
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "c2m_blocks"]
    launch += command(*options, "--batch", 2, "-o", tmp_path / "two")[3:]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    two = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment)
    assert two.returncode == 0, two.stderr
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    one, two = ([row["total"] for row in read_metrics(tmp_path / name)] for name in ("one", "two"))
    assert len(one) == 3 and two == pytest.approx(one, rel=1e-3)
    # Adam moves a weight by the rate even if its gradient is nothing but rounding, and rounding may decide between two equal matches;
    # trained on batches of two, one process is 0.7 of the way apart
    one, two = (weights(tmp_path / name) for name in ("one", "two"))
    seed_everything(0)
    assert moved(one, two, stage.preset("c2m-tiny").objective().trained.state_dict()) < 1e-2


def test_batches_in_parts_learn_like_whole_ones(photos, tmp_path):
    recipe = Restore.preset("c2m-tiny", data=str(photos), alone=0.0, steps=3, warmup=0, **SMALL | dict(batch=4))
    whole = train(recipe, tmp_path / "whole").state_dict()
    parts = train(replace(recipe, batch=2, accumulate=2), tmp_path / "parts").state_dict()
    halves = train(replace(recipe, batch=2), tmp_path / "halves").state_dict()
    seed_everything(0)
    start = recipe.objective().trained.state_dict()
    assert moved(whole, parts, start) < 1e-2 < 0.1 < moved(whole, halves, start)


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_from_photos_to_weights(name, photos, tmp_path):
    "A small form of each stage, validated on the way, and its weights can be used."
    folder = tmp_path / "pairs"
    folder.mkdir()
    for file in DEMO.glob("*.png"):
        Image.open(file).resize((160, 120)).save(folder / file.name)
    extra = dict(l1_steps=1) if name == "restore-gan" else dict(teacher="c2m-tiny") if name == "student" else {}
    recipe = STAGES[name].preset("c2m-tiny", data=str(photos), validate=str(folder), validate_every=2, steps=2, **SMALL | extra)
    trained = train(recipe, tmp_path / "run", trackers=("tensorboard",))
    assert not trained.training
    figures = read_metrics(tmp_path / "run")[-1]
    assert figures["aee"] > 0 and (name in ("teacher", "student") or 10 < figures["psnr"] < 60)
    if name in ("teacher", "student"):
        again = load_matcher(tmp_path / "run" / "model")
    else:
        again = RefSRNet.from_pretrained(tmp_path / "run" / "model")
    assert all(torch.equal(a, b) for a, b in zip(trained.state_dict().values(), again.state_dict().values()))
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    assert list((tmp_path / "run" / "log").rglob("events*"))


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
    for turn, groups in objective.groups(recipe.lr).items():
        losses, made = objective(batch, 0, turn)
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
        (["restore", "--data", "PHOTOS", "--factors", "0.1"], "factors needs three numbers"),
        (["restore", "--data", "PHOTOS", "--alone", "5"], "take a number from 0 to 1"),
        (["restore", "--data", "PHOTOS", "--network", "paper", "--no-pretrained", "--matcher", "c2m-tiny"], "is of another make"),
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
def test_bad_input_is_one_sentence(options, sentence, photos, tmp_path):
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
    done = run(*options, *([] if "-o" in options else ["-o", tmp_path / "run"]))
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
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
