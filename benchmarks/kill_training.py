"""Kill a training at random moments, resume it each time, and compare it with one that was left alone, to the bit.

    python benchmarks/kill_training.py             # 20 kills, some minutes
    python benchmarks/kill_training.py --kills 100 --stage restore

A checkpoint is written at every third step, so that most kills lose some; every tenth is measured. Needs Linux or macOS. The photos are
crops of the bundled pair, so that anyone can run it. What came out is written to benchmarks/results/kill_training.md.
"""

import os
import random
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import machine, results
from PIL import Image
from safetensors.torch import load_file

from c2m_blocks.recipes import STAGES
from c2m_blocks.video_recipes import VIDEO_STAGES
from c2m_blocks.pretrained import ASSETS


def command(stage: str, steps: int, photos: Path, run: Path) -> list[str]:
    options = ["--data", photos, "--size", 64, "--batch", 2, "--steps", steps, "--save-every", 3, "--workers", 1, "--track", "-o", run]
    options += ["--validate", photos.parent / "pairs", "--validate-every", 10] if stage in STAGES else []
    options += {"restore-gan": ["--l1-steps", 20], "video": ["--frames", 3, "--flow-frozen", 20]}.get(stage, [])
    return [sys.executable, "-m", "c2m_blocks", "train", stage, *map(str, options)]


def latest(run: Path) -> int:
    "The step of the last checkpoint."
    return max((int(file.stem) for file in (run / "checkpoints").glob("[0-9]*.pt")), default=0)


def main(stage: str, kills: int, seed: int) -> None:
    chance, steps = random.Random(seed), 15 * kills
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    with TemporaryDirectory() as folder:
        photos, whole, parts = (Path(folder) / name for name in ("photos", "whole", "parts"))
        photos.mkdir()
        for file in sorted((ASSETS / "demo").glob("*.png")):
            for i in range(3):
                Image.open(file).crop((80 * i, 0, 80 * i + 220, 220)).save(photos / f"{file.stem}_{i}.png")
            (photos.parent / "pairs").mkdir(exist_ok=True)
            Image.open(file).crop((0, 0, 128, 128)).save(photos.parent / "pairs" / file.name)
        start, done, at = time.perf_counter(), 0, []
        process = subprocess.Popen(command(stage, steps, photos, whole), **quiet)
        while process.poll() is None and not latest(whole):
            time.sleep(0.02)
        began = time.perf_counter() - start  # the import of torch, and three steps
        if process.wait():
            sys.exit(process.stderr.read().decode())
        took = time.perf_counter() - start
        while done < kills:
            process = subprocess.Popen([*command(stage, steps, photos, parts), "--resume"], **quiet)
            before = latest(parts)
            # anywhere from the import of torch to some steps after the last checkpoint, so that it does not end before the last kill
            moment = chance.uniform(0, began + 1.6 * (took - began) / kills)
            try:
                if process.wait(moment):
                    sys.exit(process.stderr.read().decode())
                break  # it came to its end too soon
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            done += 1
            at.append(latest(parts))
            print(f"kill {done:3}: after {moment:5.1f} s, at step {before} -> {at[-1]}", flush=True)
        resumed = subprocess.run([*command(stage, steps, photos, parts), "--resume"], **quiet)
        if resumed.returncode:
            sys.exit(resumed.stderr.decode())
        a, b = (load_file(run / "model" / "model.safetensors") for run in (whole, parts))
        different = [name for name in a if not torch.equal(a[name], b[name])]
        same = f"{len(different)} weights differ" if different else "bit-identical"
        text = f"{done} kills of `{stage}` in {steps} steps, a checkpoint at every third, after steps {', '.join(map(str, at))}: {same}"
        print(text)
        results("kill_training.md").write_text(f"{machine()}\n\n{text}\n")
        sys.exit(bool(different) or done < kills)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stage", default="restore-gan", choices=[*STAGES, *VIDEO_STAGES])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    main(args.stage, args.kills, args.seed)
