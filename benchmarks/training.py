"""Pairs a second of each stage of the training: as plain as it gets, and as the loop does it; and where the time goes.

    python benchmarks/training.py PHOTOS    # a folder of photos; ten minutes
"""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import fastest, machine, results, table

from c2m_blocks import training
from c2m_blocks.recipe_base import Recipe
from c2m_blocks.recipes import STAGES
from c2m_blocks.run_cards import read_metrics
from c2m_blocks.training import train
from c2m_blocks.video_recipes import VIDEO_STAGES

training._LOG_EVERY = 1  # here every step counts


def steps(recipe: Recipe, channels_last: bool):
    "A function that takes one step of a stage, on one batch."
    pairs = recipe.dataset()
    batch = torch.utils.data.default_collate([pairs[0, i] for i in range(recipe.batch)])
    torch.manual_seed(0)
    objective = recipe.objective().train()
    if channels_last:
        objective.to(memory_format=torch.channels_last)
    optimizers = {name: torch.optim.Adam(groups) for name, groups in objective.groups(recipe.lr).items()}

    def step() -> None:
        for name in objective.active_optimizers(recipe.steps - 1):
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                losses, made = objective(batch, recipe.steps - 1, name)
            batch.update(made)
            optimizers[name].zero_grad(), losses["total"].backward(), optimizers[name].step()

    return step


def shares(step) -> tuple[float, float]:
    "Parts of a step's time that go into convolutions and into products of matrices."
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(), step()
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    convolutions = sum(time for name, time in times.items() if "conv" in name)
    products = sum(times.get(f"aten::{name}", 0) for name in ("mm", "bmm", "addmm", "baddbmm"))
    return convolutions / sum(times.values()), products / sum(times.values())


def measure(name: str, stage: type[Recipe], photos: Path) -> list:
    extra = dict(teacher="c2m-tiny") if name == "student" else {}
    extra |= dict(l1_steps=0) if name == "restore-gan" else {}  # or the loop would not get to what the stage is for
    recipe = stage.preset(stage.tiny, data=str(photos), **extra)
    plain, ours = (steps(replace(recipe, precision=p), last) for p, last in (("float32", False), (recipe.precision, True)))
    slow, fast = fastest(plain, 5), fastest(ours, 5)
    convolutions, products = shares(ours)
    with TemporaryDirectory() as run:
        train(replace(recipe, steps=40), run)
        rows = read_metrics(run)[10:]
    took = [1 / row["images_per_s"] for row in rows]  # for a pair of each step
    waited = sum(t * row["waited"] for t, row in zip(took, rows)) / sum(took)
    percents = [f"{100 * part:.0f}" for part in (convolutions, products, 1 - convolutions - products)]
    speeds = [f"{recipe.batch / slow:.1f}", f"{recipe.batch / fast:.1f}", f"{slow / fast:.2f}"]
    return [name, *speeds, *percents, f"{len(took) / sum(took):.1f}", f"{100 * waited:.0f}"]


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("photos", type=Path)
    photos = parser.parse_args().photos
    header = "stage | plain, pairs/s | as the loop computes | times faster | of that convolutions, % | products, % | the rest, %"
    header += " | the loop with 2 workers, pairs/s | waiting for data, %"
    rows = [measure(name, stage, photos) for name, stage in {**STAGES, **VIDEO_STAGES}.items()]
    text = machine() + ", networks `c2m-tiny` and `c2m-video-tiny`\n\n" + table(header, rows)
    results("training.md").write_text(text + "\n")
    print(text)
