"""Pairs a second of each stage of the training: as plain as it gets, and as the loop does it; and whether the data keep up.

    python benchmarks/training.py PHOTOS    # a folder of photos; five minutes
"""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import fastest, machine, results, table

from c2m_blocks.recipes import STAGES, Recipe
from c2m_blocks.training import read_metrics, train


def steps(recipe: Recipe, channels_last: bool):
    "A function that takes one step of a stage, on one batch."
    pairs = recipe.dataset()
    batch = torch.utils.data.default_collate([pairs[0, i] for i in range(recipe.batch)])
    torch.manual_seed(0)
    objective = recipe.objective().train()
    if channels_last:
        objective.to(memory_format=torch.channels_last)
    optimisers = {turn: torch.optim.Adam(groups) for turn, groups in objective.groups(recipe.lr).items()}

    def step() -> None:
        for turn in objective.turns(recipe.steps - 1):
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                losses, made = objective(batch, recipe.steps - 1, turn)
            batch.update(made)
            optimisers[turn].zero_grad(), losses["total"].backward(), optimisers[turn].step()

    return step


def measure(name: str, photos: Path) -> list:
    extra = dict(teacher="c2m-tiny") if name == "student" else {}
    extra |= dict(l1_steps=0) if name == "restore-gan" else {}  # or the loop would not get to what the stage is for
    recipe = STAGES[name].preset("c2m-tiny", data=str(photos), **extra)
    plain, ours = (fastest(steps(replace(recipe, precision=p), last), 5) for p, last in (("no", False), ("bf16", True)))
    with TemporaryDirectory() as run:
        train(replace(recipe, steps=40), run)
        rows = read_metrics(run)[1:]
    waited = 100 * sum(row["waited"] for row in rows) / len(rows)
    rate = sum(row["images_per_s"] for row in rows) / len(rows)
    return [name, f"{recipe.batch / plain:.1f}", f"{recipe.batch / ours:.1f}", f"{plain / ours:.2f}", f"{rate:.1f}", f"{waited:.0f}"]


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("photos", type=Path)
    photos = parser.parse_args().photos
    header = "stage | plain, pairs/s | bfloat16, channels-last | times faster | the loop with 2 workers, pairs/s | waiting for data, %"
    text = machine() + ", network `c2m-tiny`\n\n" + table(header, [measure(name, photos) for name in STAGES])
    results("training.md").write_text(text + "\n")
    print(text)
