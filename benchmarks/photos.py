"""What the bundled network makes of LR pictures as people have them, against bicubic interpolation, and what that costs the matching.

    python benchmarks/photos.py PAIRS [--model NAME] [--label TEXT]   # a folder with NAME_input.png and NAME_ref.png

Each pair is shrunk in eleven ways, and restored without a reference, with its own and with that of another pair. The figures go to
benchmarks/results/photos.json under the label, and all that are there into the table beside it: so editions are compared.
"""

import json
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from common import results, table
from torch.nn import functional as F

from c2m_blocks import RefSRNet
from c2m_blocks.core import progress, read_image
from c2m_blocks.data import folder_pairs
from c2m_blocks.degradation import Bicubic, Blur, Compress, Degradation, Noise, Shrink, Steps
from c2m_blocks.inference import find_matches, upscale
from c2m_blocks.objectives import known_items, matching_error
from c2m_blocks.protocols import EvalProtocol, measure, sized
from c2m_blocks.resample import bicubic_pil

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
APART = 7  # pairs further on in the list lies the reference that shows something else
LESS = 0.05  # dB below bicubic that one pair may be


def half_a_pixel_on(hr: torch.Tensor) -> torch.Tensor:
    "The image half a pixel to the lower right, where `Shrink(kernel=\"nearest\")` has taken its pixels; a sinc under a Lanczos window."
    taps = torch.arange(-5.5, 6)
    weight = torch.sinc(taps) * torch.sinc(taps / 6)
    weight /= weight.sum()
    x = F.pad(hr.transpose(0, 1), (5, 6, 5, 6), mode="replicate")
    return F.conv2d(F.conv2d(x, weight.view(1, 1, 1, -1)), weight.view(1, 1, -1, 1)).transpose(0, 1).clamp(0, 1)


def measured(net: RefSRNet, folder: Path, name: str) -> dict:
    "The figures of one row, pair by pair."
    degrade, pairs, protocol, figures = ROWS[name][0], folder_pairs(folder), EvalProtocol(), []
    refs = [read_image(ref) for _, ref in pairs.values()]
    for i, (file, _) in enumerate(progress(list(pairs.values()), name)):
        hr, _ = sized(read_image(file), protocol)
        lr = degrade(hr, np.random.default_rng(i))
        truth = half_a_pixel_on(hr) if name == "nearest" else hr
        other = refs[(i + APART) % len(refs)]
        made = dict(bicubic=bicubic_pil(lr, 4), none=upscale(lr, None, net))
        made |= {of: upscale(lr, ref, net, search="coarse") for of, ref in dict(own=refs[i], another=other).items()}
        matches = find_matches(lr, refs[i], net, search="coarse")
        row = {of: measure(sr, truth, protocol)["psnr"] for of, sr in made.items()}
        figures.append(row | dict(coherence=matches.coherence().mean().item()))
    files = [file for pair in pairs.values() for file in pair]
    found = matching_error(net.matcher, known_items(files, 128, degrade))
    return {of: [row[of] for row in figures] for of in figures[0]} | dict(names=list(pairs), within_1px=found["within_1px"])


def line(name: str, figures: dict, clean_gain: float) -> list[str]:
    "A row of the table."
    bicubic, none, own, another = (np.array(figures[of]) for of in ("bicubic", "none", "own", "another"))
    worst = min((none - bicubic).min(), (own - bicubic).min(), (another - bicubic).min())
    cells = [f"{x.mean():.2f}" for x in (bicubic, none, own)]
    cells += [f"{(own - bicubic).mean():+.2f}", f"{(own - bicubic).mean() / clean_gain:.0%}", f"{ROWS[name][1]:.0%}"]
    cells += [f"{worst:+.2f}", f"{(another - none).min():+.3f}", f"{figures['within_1px']:.1%}", f"{np.mean(figures['coherence']):.3f}"]
    return [name, *cells]


def main(model: str, folder: Path, label: str) -> str:
    "Measure a model, and draw the table of all that was measured."
    file, net = results("photos.json"), RefSRNet.from_pretrained(model)
    known = json.loads(file.read_text()) if file.exists() else {}
    known.setdefault(label, {})
    for name in ROWS:
        known[label][name] = measured(net, folder, name)
        file.write_text(json.dumps(known, indent=1) + "\n")
    base = next(iter(known.values()))[CLEAN]  # shares are of what the first edition in the table gained
    gain = np.mean(np.array(base["own"]) - np.array(base["bicubic"]))
    head = "LR picture | bicubic | none | own | gain | share | asked | worst pair | another's | within 1 px | coherence"
    parts = [f"**{of}**\n\n" + table(head, [line(name, rows[name], gain) for name in ROWS if name in rows]) for of, rows in known.items()]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", default="c2m-tiny")
    parser.add_argument("--label", default="now")
    args = parser.parse_args()
    text = main(args.model, args.pairs, args.label)
    results("photos.md").write_text(text)
    print(text)
