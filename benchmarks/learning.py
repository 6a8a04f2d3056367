"""Does it learn what the paper says it learns? Small networks, trained equally long, three seeds.

    python benchmarks/learning.py --photos PHOTOS --pairs PAIRS --jobs 2     # about three hours on two cores

PHOTOS is a folder to train on, PAIRS one with NAME_input.png and NAME_ref.png to measure on. What is done already is not done again,
so that it can be cut off and called again. What was measured is written to benchmarks/results/learning.json.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import results
from torch import nn

from c2m_blocks import aggregation
from c2m_blocks.contrastive import ContrastiveMatcher
from c2m_blocks.core import read_image
from c2m_blocks.data import SyntheticPairs, folder_pairs
from c2m_blocks.geometry import BANDS, controlled_view, random_view
from c2m_blocks.metrics import psnr
from c2m_blocks.objectives import matching_error
from c2m_blocks.recipes import Restore, Student, Teacher
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.restoration import RefSRNet
from c2m_blocks.run_cards import read_metrics
from c2m_blocks.training import train
from c2m_blocks.weights import load_matcher

SEEDS = (0, 1, 2)
MATCHER, RESTORER = dict(steps=400, size=128, batch=8, workers=0), dict(steps=600, size=96, batch=4, workers=0)
# the restorers differ in a part from the full one: the student with its teacher, dynamic aggregation, gate
ARMS = {
    "matcher": ("untrained", "teacher", "student alone", "student with teacher", "margin alone", "margin with teacher"),
    "restorer": ("full", "untrained matcher", "patch swap", "no gate"),
    # the bundled matcher without its last step, refinement to the pixel: why aggregation is no better than swapping
    "whole cells": ("aggregation, whole cells", "patch swap, whole cells"),
}


def train_and_measure(kind: str, arm: str, seed: int, photos: Path, pairs: Path, runs: Path) -> dict:
    "One arm, in this process; with its curve."
    torch.set_num_threads(1)
    matcher = lambda name: str(runs / f"matcher, {name}, {seed}" / "model")
    run, shared = runs / f"{kind}, {arm}, {seed}", dict(data=str(photos), seed=seed)
    if kind == "matcher":
        stage, sharp = (Teacher, True) if arm == "teacher" else (Student, False)
        teacher = dict(teacher=matcher("teacher")) if "with teacher" in arm else {}
        papers = dict(volume=False, weight=15.0) if "margin" in arm else {}  # the paper's loss and its weight of the teacher
        recipe = stage.preset("c2m-tiny", **shared, **MATCHER, **teacher, **papers)
        if arm == "untrained":
            torch.manual_seed(seed)
            return dict(figures=matchers_figures(recipe.build_net(), pairs, sharp), curve=[])
        figures = matchers_figures(train(recipe, run, resume=True), pairs, sharp)
    else:
        if arm == "no gate":
            aggregation.coherence_gate = torch.ones_like
        if kind == "whole cells":
            own = dict(start=untrained_restorer(runs / f"start, {arm}, {seed}", seed))
        else:
            own = dict(matcher="untrained" if arm == "untrained matcher" else matcher("student with teacher"))
        recipe = Restore.preset("c2m-tiny", **shared, **RESTORER, **own, swap="patch swap" in arm)
        net = train(recipe, run, resume=True)
        figures = restorers_figures(net, pairs) | ({} if recipe.swap else offset_sizes(net, pairs))
    loss = "l1" if kind != "matcher" else "margin" if "margin" in arm else "volume"
    return dict(figures=figures, curve=[(row["step"], row[loss]) for row in read_metrics(run)])


def untrained_restorer(folder: Path, seed: int) -> str:
    "The folder of a new network with the bundled matcher, whose matches are whole cells of four pixels."
    torch.manual_seed(seed)
    matcher = ContrastiveMatcher(shifts_per_cell=1, refine_radius=0, pad=True)
    matcher.load_state_dict(load_matcher("c2m-tiny").state_dict())
    RefSRNet(**RefSRNet.preset("c2m-tiny").config | dict(matcher=matcher)).save_pretrained(folder)
    return str(folder)


def offset_sizes(net: RefSRNet, pairs: Path) -> dict:
    "How far the offsets of each scale have gone from zero, mean over all taps, pixels of the scale."
    sizes = [[] for _ in net.stages]

    def seen(guide_net: nn.Module, args: tuple, guide: torch.Tensor) -> None:
        scale = next(i for i, stage in enumerate(net.stages) if stage.aggregator.guide_net is guide_net)
        block = net.stages[scale].aggregator
        predicted = block.offset_modulation(guide)[:, : 2 * block.groups * block.kernel_size**2]  # the rest is modulation
        sizes[scale].append(predicted.abs().mean().item())

    hooks = [stage.aggregator.guide_net.register_forward_hook(seen) for stage in net.stages]
    with torch.inference_mode():
        for hr, ref in folder_pairs(pairs).values():
            hr = read_image(hr)
            net(bicubic_pil(hr[..., : hr.shape[-2] // 4 * 4, : hr.shape[-1] // 4 * 4], 0.25), read_image(ref))
    for hook in hooks:
        hook.remove()
    return {f"offset, 1/{2**k}": float(np.mean(of)) for k, of in zip((2, 1, 0), sizes)}


def views() -> dict[str, partial]:
    "The views of an album, and those of a controlled degree, by name."
    bands = {f"{kind} {band}": partial(controlled_view, **{kind: limits}) for kind, of in BANDS.items() for band, limits in of.items()}
    return {"album": random_view} | bands


def items(pairs: Path, view) -> list[dict]:
    "A crop of each picture of the pairs, with a view of it as its reference."
    known = SyntheticPairs([file for pair in folder_pairs(pairs).values() for file in pair], 160, view, altered=False, unrelated=0, seed=9)
    return [known[i] for i in range(len(known))]


def matchers_figures(matcher: nn.Module, pairs: Path, sharp: bool) -> dict:
    errors = {name: matching_error(matcher, items(pairs, view), sharp) for name, view in views().items()}
    return {f"{figure}, {name}": value for name, error in errors.items() for figure, value in error.items()}


def restorers_figures(net: RefSRNet, pairs: Path) -> dict:
    "PSNR-Y on the pairs, with their own reference, another one and none, and on the controlled views."
    files, rows, restored = list(folder_pairs(pairs).values()), [], partial(net, search="coarse")
    for i, (hr, ref) in enumerate(files):
        other = files[(i + 7) % len(files)][1]
        hr = read_image(hr)
        hr = hr[..., : hr.shape[-2] // 4 * 4, : hr.shape[-1] // 4 * 4]
        lr, refs = bicubic_pil(hr, 0.25), {"none": None, "own": read_image(ref), "unrelated": read_image(other)}
        with torch.inference_mode():
            results = {"bicubic": bicubic_pil(lr, 4)} | {name: restored(lr, ref).clamp(0, 1) for name, ref in refs.items()}
        rows.append({name: psnr(sr, hr, border=4).item() for name, sr in results.items()})
    figures = {column: float(np.mean([row[column] for row in rows])) for column in rows[0]}
    figures["worst loss to an unrelated one"] = max(row["none"] - row["unrelated"] for row in rows)
    with torch.inference_mode():
        for name, view in views().items():
            pictures = items(pairs, view)[::2]
            values = [psnr(restored(x["lr"][None], x["ref"][None]).clamp(0, 1), x["hr"][None], border=4).item() for x in pictures]
            figures[f"psnr, {name}"] = float(np.mean(values))
    return figures


def main(args) -> None:
    "Each arm in a process of its own, several at a time; teachers before their students, matchers before restorers."
    args.runs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    file = lambda kind, arm, seed: args.runs / f"{kind}, {arm}, {seed}.json"

    def call(what: tuple[str, str, int]) -> None:
        if not file(*what).exists():
            places = ["--photos", args.photos, "--pairs", args.pairs, "--runs", args.runs]
            subprocess.run([sys.executable, __file__, "--one", *map(str, what), *map(str, places)], check=True, env=environment)
            print(", ".join(map(str, what)), flush=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        matchers = ARMS["matcher"]
        for kind, arms in (("matcher", matchers[:3]), ("matcher", matchers[3:]), *list(ARMS.items())[1:]):
            list(pool.map(call, [(kind, arm, seed) for seed in SEEDS for arm in arms]))
    measured = [
        dict(kind=kind, arm=arm, seed=seed, **json.loads(file(kind, arm, seed).read_text()))
        for kind, arms in ARMS.items() for arm in arms for seed in SEEDS
    ]
    results("learning.json").write_text(json.dumps(measured) + "\n")


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"))
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, of one thread each")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "ARM", "SEED"), help="only this arm, in this process")
    args = parser.parse_args()
    if args.one:
        kind, arm, seed = args.one
        done = train_and_measure(kind, arm, int(seed), args.photos, args.pairs, args.runs)
        (args.runs / f"{kind}, {arm}, {seed}.json").write_text(json.dumps(done))
    else:
        main(args)
