"""What the bundled networks make of LR pictures as people have them, against bicubic interpolation, and what that costs the matching.

    python benchmarks/photos.py PAIRS [--model NAME] [--label TEXT] [--before NAME]   # a folder with NAME_input.png and NAME_ref.png

Each pair is shrunk in eleven ways, and restored without a reference, with its own and with that of another pair. The figures go to
benchmarks/results/photos.json under the label, and all that are there into the table beside it, so that editions are compared. It can be
cut off and called again. With the network of another edition (--before) it draws what became of the worst rows.
"""

import json
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from common import results, table
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from c2m_blocks import RefSRNet
from c2m_blocks.core import progress, read_image, write_text
from c2m_blocks.data import folder_pairs
from c2m_blocks.degradation import Bicubic, Blur, Compress, Degradation, Noise, Shrink, Steps, half_pixel_on
from c2m_blocks.editions import EDITIONS, choose_edition
from c2m_blocks.inference import AUTO, find_matches, upscale, views_for
from c2m_blocks.objectives import known_items, matching_error
from c2m_blocks.plotting import save_figure
from c2m_blocks.protocols import EvalProtocol, measure, sized
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.runs import fingerprint

CLEAN = "clean"  # what the shares are shares of
ROWS: dict[str, tuple[Degradation, float]] = {  # how LR pictures are made, and the share of the clean gain that is asked for
    CLEAN: (Bicubic(), 1.08),
    "JPEG 90": (Steps((Bicubic(), Compress(90))), 0.80),
    "JPEG 75": (Steps((Bicubic(), Compress(75))), 0.55),
    "box": (Shrink(kernel="box"), 0.95),
    "bicubic, not antialiased": (Shrink(kernel="aliased_bicubic"), 0.55),
    "bilinear, not antialiased": (Shrink(kernel="aliased_bilinear"), 0.55),
    "nearest": (Shrink(kernel="nearest"), 0.30),
    "blur 1.6": (Steps((Blur(1.6), Bicubic())), 0.85),
    "blur 3.2": (Steps((Blur(3.2), Bicubic())), 0.40),
    "noise 8": (Steps((Bicubic(), Noise(8))), 0.65),
    "box, noise 3, JPEG 90": (Steps((Shrink(kernel="box"), Noise(3), Compress(90))), 0.65),
}
APART = 3  # pairs further on in the list lies the reference that shows something else
WORST = ("bicubic, not antialiased", "nearest", "JPEG 75", "noise 8")  # that are drawn
PIECE, PAIR = 160, "rock_leaves"  # HR pixels of which pair


Networks = dict[str, RefSRNet]  # by name: one for all pictures, or the editions that are chosen from


def fitting(networks: Networks, lr: torch.Tensor) -> RefSRNet:
    return networks[choose_edition(lr) if len(networks) > 1 else next(iter(networks))]


def measured(networks: Networks, folder: Path, name: str, every: int) -> dict:
    "The figures of one row, pair by pair."
    degrade, protocol, figures = ROWS[name][0], EvalProtocol(), []
    pairs = dict(list(folder_pairs(folder).items())[::every])
    refs = [read_image(ref) for _, ref in pairs.values()]
    for i, (file, _) in enumerate(progress(list(pairs.values()), name)):
        hr, _ = sized(read_image(file), protocol)
        lr = degrade(hr, np.random.default_rng(i))
        net, truth = fitting(networks, lr), half_pixel_on(hr) if name == "nearest" else hr
        other = refs[(i + APART) % len(refs)]
        (view,) = views_for(net, lr, [refs[i]])
        matches = find_matches(lr, view.image, net, search="coarse")
        made = dict(bicubic=bicubic_pil(lr, 4), none=upscale(lr, None, net), own=upscale(lr, view.image, net, matches=matches))
        made["another"] = upscale(lr, other, net, search="coarse")
        row = {of: measure(sr, truth, protocol)["psnr"] for of, sr in made.items()}
        clean = float(net is next(iter(networks.values())))
        figures.append(row | dict(coherence=matches.coherence().mean().item(), clean=clean))
    files = [file for pair in pairs.values() for file in pair]
    found = matching_error(lambda lr, ref: fitting(networks, lr).matcher(lr, ref), known_items(files, 128, degrade))
    return {of: [row[of] for row in figures] for of in figures[0]} | dict(within_1px=found["within_1px"])


def line(name: str, figures: dict, clean_gain: float) -> list[str]:
    "A row of the table."
    bicubic, none, own, another = (np.array(figures[of]) for of in ("bicubic", "none", "own", "another"))
    worst = min((none - bicubic).min(), (own - bicubic).min(), (another - bicubic).min())
    cells = [f"{x.mean():.2f}" for x in (bicubic, none, own)]
    cells += [f"{(own - bicubic).mean():+.2f}", f"{(own - bicubic).mean() / clean_gain:.0%}", f"{ROWS[name][1]:.0%}"]
    cells += [f"{worst:+.2f}", f"{(another - none).min():+.3f}", f"{figures['within_1px']:.1%}", f"{np.mean(figures['coherence']):.3f}"]
    cells += [f"{np.mean(figures.get('clean', [1])):.0%}"]
    return [name, *cells]


def draw(networks: Networks, before: RefSRNet, folder: Path, name: str) -> Figure:
    "What became of the worst rows: a piece of one pair, by bicubic interpolation and by both networks with the pair's own reference."
    hr_file, ref_file = folder_pairs(folder)[name]
    (hr, _), ref = sized(read_image(hr_file), EvalProtocol()), read_image(ref_file)
    top, left = (n // 2 - PIECE // 2 for n in hr.shape[-2:])
    figure, axes = plt.subplots(len(WORST), 4, figsize=(6.4, 1.8 * len(WORST)), layout="constrained", dpi=80, squeeze=False)
    for of, row in zip(WORST, axes):
        lr = ROWS[of][0](hr, np.random.default_rng(0))
        made = {title: upscale(lr, ref, one, search="coarse") for title, one in dict(before=before, now=fitting(networks, lr)).items()}
        shown = {f"{of}:\nbicubic": bicubic_pil(lr, 4)} | made | dict(truth=hr)
        for axis, (title, x) in zip(row, shown.items()):
            axis.imshow(x[0, :, top : top + PIECE, left : left + PIECE].permute(1, 2, 0)), axis.set_axis_off()
            quality = "" if title == "truth" else f", {measure(x, hr, EvalProtocol())['psnr']:.2f} dB"
            axis.set_title(f"{title}{quality}", fontsize=6)
    return figure


def load(model: str) -> Networks:
    return {name: RefSRNet.from_pretrained(name) for name in (EDITIONS if model == AUTO else [model])}


def main(model: str, folder: Path, label: str, every: int) -> str:
    "Measure a model, and draw the table of all that was measured."
    file, networks = results("photos.json"), load(model)
    known = json.loads(file.read_text()) if file.exists() else {}
    weights = " ".join([*map(fingerprint, networks.values()), f"every {every}"])
    rows = known.setdefault(label, dict(weights=weights))
    if rows["weights"] != weights:
        print(f"{label} was measured with other weights, and is measured anew.")
        rows = known[label] = dict(weights=weights)
    for name in ROWS:
        if name not in rows:
            rows[name] = measured(networks, folder, name, every)
            write_text(file, json.dumps(known, indent=1) + "\n")
    base = next(iter(known.values()))[CLEAN]  # shares are of what the first edition in the table gained
    gain = np.mean(np.array(base["own"]) - np.array(base["bicubic"]))
    head = "LR picture | bicubic | none | own | gain | share | asked | worst pair | another's | within 1 px | coherence | taken for clean"
    shown = lambda of, rows: f"**{of}**, {len(rows[CLEAN]['own'])} pairs\n\n"
    parts = [shown(of, rows) + table(head, [line(name, rows[name], gain) for name in ROWS if name in rows]) for of, rows in known.items()]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", default=AUTO)
    parser.add_argument("--label", default="now")
    parser.add_argument("--before", help="network of another edition, to draw what became of the worst rows")
    parser.add_argument("--every", type=int, default=1, help="measure every so many pairs, which is as many times faster")
    args = parser.parse_args()
    text = main(args.model, args.pairs, args.label, args.every)
    results("photos.md").write_text(text)
    if args.before:
        save_figure(draw(load(args.model), RefSRNet.from_pretrained(args.before), args.pairs, PAIR), results("photos.png"))
    print(text)
