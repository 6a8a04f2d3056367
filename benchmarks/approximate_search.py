"""Approximate search against the exact one: time, what is lost, and how both grow with the size of the grids.

    python benchmarks/approximate_search.py PAIRS          # folder with NAME_input.png and NAME_ref.png; the bundled pair if not given
    python benchmarks/approximate_search.py PAIRS --psnr   # and what the bundled network loses on these pairs

Descriptors: 256 channels of a VGG-16 with random weights at conv3_1, the paper's, of pictures that are scaled to the size wanted.
"""

from argparse import ArgumentParser
from pathlib import Path

import torch
from common import fastest, machine, results, seconds, table
from matplotlib import pyplot as plt
from torch.nn import functional as F

from c2m_blocks import ContrastiveMatcher, Matches, VGGFeatures, aee, match_patches, psnr, read_image
from c2m_blocks.data import folder_pairs
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.restoration import RefSRNet
from c2m_blocks.pretrained import ASSETS

SIZES = [(80, 80), (125, 83), (180, 180), (180, 320), (256, 256), (360, 360), (512, 512)]
EXACT = 180 * 320  # the largest grid that is searched exactly
SHOWN = 6  # pairs


def descriptors(pair: tuple[Path, Path], h: int, w: int, matcher: ContrastiveMatcher) -> tuple[torch.Tensor, torch.Tensor]:
    "Of an LR picture of w x h pixels and a reference four times as large."
    hr, ref = (F.interpolate(read_image(path), (4 * h, 4 * w), mode="bicubic", antialias=True).clamp(0, 1) for path in pair)
    return matcher.describe_query(bicubic_pil(hr, 0.25)), matcher.describe_ref(ref)


def compare(query: torch.Tensor, ref: torch.Tensor, exact: Matches, found: Matches) -> list[float]:
    "Percent of identical places, mean cosine lost, mean distance of the matches in cells."
    inner = (..., slice(1, -1), slice(1, -1))
    same = (found.position == exact.position).all(1)[inner].float().mean().item()
    return [100 * same, (exact.score - found.score)[inner].mean().item(), aee(found.flow()[inner], exact.flow()[inner]).mean().item()]


def ways(query: torch.Tensor, ref: torch.Tensor, before: Matches | None) -> dict:
    return {
        "exact": lambda: match_patches(query, ref, compile=True),
        "coarse": lambda: match_patches(query, ref, search="coarse"),
        "propagate": lambda: match_patches(query, ref, search="propagate", start=before),
    }


def at_size(pairs: list, h: int, w: int, matcher: ContrastiveMatcher) -> dict[str, list]:
    "Seconds and what is lost, for each way the mean over pairs."
    measured = {}
    for pair in pairs:
        query, ref = descriptors(pair, h, w, matcher)
        # a frame of a video sees nearly what the one before it saw; here it is moved by one cell
        moved = match_patches(query.roll(1, 3), ref, search="coarse")
        found = {}
        for name, way in ways(query, ref, moved).items():
            if name == "exact" and h * w > EXACT:
                continue
            time = (seconds if h * w > 20_000 else fastest)(lambda: found.update({name: way()}))
            lost = compare(query, ref, found["exact"], found[name]) if "exact" in found else [float("nan")] * 3
            measured.setdefault(name, []).append([time, *lost])
    return {name: torch.tensor(rows).mean(0).tolist() for name, rows in measured.items()}


def plot(times: dict[str, dict[int, float]], path: Path) -> None:
    fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, points in times.items():
        ax.loglog(points.keys(), points.values(), "o-", label=name)
    n = torch.tensor([6e3, 2.7e5])
    for power, label in ((1, "linear"), (2, "quadratic")):
        ax.loglog(n, 0.05 * (n / n[0]) ** power, "k:", lw=0.8)
        ax.annotate(label, (n[1], 0.05 * (n[1] / n[0]) ** power), fontsize=8, ha="right", va="bottom")
    ax.set_xlabel("positions of the query, and of the reference"), ax.set_ylabel("seconds"), ax.legend(loc="upper left"), ax.grid(alpha=0.3)
    fig.savefig(path, dpi=150, bbox_inches="tight")


def quality(pairs: list) -> list[list]:
    "PSNR-Y of the bundled network, border 4."
    net, rows = RefSRNet.from_pretrained("c2m-tiny").eval(), []
    for search in ("exact", "coarse"):
        values, time = [], 0.0
        for hr, ref in (map(read_image, pair) for pair in pairs):
            h, w = (size // 4 * 4 for size in hr.shape[2:])
            lr, result = bicubic_pil(hr[..., :h, :w], 0.25), []
            time += seconds(lambda: result.append(net(lr, ref, search=search).clamp(0, 1)))
            values.append(psnr(result[0], hr[..., :h, :w], border=4).item())
        rows.append([search, values, time])
    exact, coarse = (torch.tensor(row[1]) for row in rows)
    lost = {"exact": "", "coarse": f"{(exact - coarse).mean():.3f}"}
    worst = {"exact": "", "coarse": f"{(exact - coarse).max():.3f}"}
    return [[name, f"{sum(v) / len(v):.3f}", lost[name], worst[name], f"{time:.1f}"] for name, v, time in rows]


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("pairs", nargs="?", type=Path)
    parser.add_argument("--psnr", action="store_true")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    demo = [(ASSETS / "demo/rock_leaves_input.png", ASSETS / "demo/rock_leaves_ref.png")]
    pairs = list(folder_pairs(args.pairs).values()) if args.pairs else demo
    chosen = pairs[:: max(1, len(pairs) // SHOWN)][:SHOWN]
    matcher = ContrastiveMatcher(VGGFeatures("vgg16", layers=("conv3_1",), pretrained=False)).eval()
    times, lines = {}, []
    for h, w in SIZES:
        measured = at_size(chosen if h * w <= EXACT else chosen[:1], h, w, matcher)
        base = measured.get("exact", [float("nan")])[0]
        for name, (time, same, lost, distance) in measured.items():
            times.setdefault(name, {})[h * w] = time
            given = [f"{same:.1f}", f"{lost:.1e}", f"{distance:.1f}"] if "exact" in measured and name != "exact" else [""] * 3
            lines.append([f"{w} x {h}", name, f"{time:.2f}", f"{base / time:.1f}" if base == base else "", *given])
        print(lines[-len(measured) :], flush=True)
    text = f"{machine()}. Means over {len(chosen)} pairs, larger grids than {EXACT} one pair.\n\n"
    text += table("grid | search | s | times faster | same places, % | cosine lost | distance, cells", lines)
    if args.psnr:
        text += f"\n\nThe bundled network on {len(pairs)} pairs:\n\n"
        text += table("search | PSNR-Y, dB | lost, dB | lost by the worst pair, dB | s, all pairs", quality(pairs))
    plot(times, results("approximate_search.png"))
    results("approximate_search.md").write_text(text + "\n")
    print(text)
