"""How good the bundled network is: every pair without a reference, with its own and with that of another pair.

    python benchmarks/quality.py PAIRS [--model NAME]   # a folder with NAME_input.png and NAME_ref.png

What is measured is kept in runs/quality, so that it can be cut off and called again; the table is written to benchmarks/results/quality.md.
"""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

from common import results, table

from c2m_blocks.comparison import difference
from c2m_blocks.evaluation import evaluate
from c2m_blocks.protocols import EvalSet, EvalProtocol
from c2m_blocks.testsets import pairs

APART = 7  # pairs further on in the list lies the reference that shows something else


def main(folder: Path, model: str, runs: Path) -> str:
    "Each pair in a line, the means, and what the references are worth."
    own = pairs(folder)
    others = [replace(entry, refs=own[(i + APART) % len(own)].refs) for i, entry in enumerate(own)]
    first = EvalProtocol()
    given = {"none": (own, replace(first, refs="none")), "own": (own, first), "another": (others, first)}
    measured = {"bicubic": evaluate("bicubic", EvalSet(*given["none"]), runs / "bicubic", "pairs")}
    for name, how in given.items():
        measured[name] = evaluate(model, EvalSet(*how), runs / name, "pairs")
    names, columns = [entry.name.replace("_", " ") for entry in own], [one["rows"] for one in measured.values()]
    figures = [[name, *(f"{row['psnr']:.2f}" for row in rows)] for name, *rows in zip(names, *columns)]
    means = ["**mean**", *(f"**{one['mean']['psnr']:.3f}**" for one in measured.values())]
    ssims = ["mean SSIM", *(f"{one['mean']['ssim']:.4f}" for one in measured.values())]
    over = lambda name, base: difference(measured[name], measured[base], same_refs=False)
    gains = {
        "own reference over bicubic": over("own", "bicubic"),
        "own reference over none": over("own", "none"),
        "another's over none": over("another", "none"),
    }
    lost = [none["psnr"] - other["psnr"] for none, other in zip(measured["none"]["rows"], measured["another"]["rows"])]
    lines = [f"- {name}: {mean:+.3f} dB (95 % of resampled means: {low:+.3f} to {high:+.3f})" for name, (mean, low, high) in gains.items()]
    lines.append(f"- another's reference, the pair that loses most by it: {max(lost):.3f} dB below none")
    shown = table("pair | bicubic | none | own | another", [*figures, means, ssims])
    return "\n\n".join([f"{model}, PSNR-Y in dB; {first}.", shown, "\n".join(lines)]) + "\n"


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", default="c2m-tiny")
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"))
    args = parser.parse_args()
    text = main(args.pairs, args.model, args.runs / Path(args.model).name)
    results("quality.md").write_text(text)
    print(text)
