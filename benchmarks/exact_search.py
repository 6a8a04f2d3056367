"""Exact search against 3 x 3 patches through `conv2d`: time, memory, and whether the result is the same.

    python benchmarks/exact_search.py            # 80 x 80 and 125 x 83, a minute
    python benchmarks/exact_search.py --large    # 180 x 320 as well, ten minutes
"""

from argparse import ArgumentParser

import torch
from common import extra_memory, fastest, machine, results, seconds, table
from torch.nn import functional as F

from c2m_blocks.exact import exact_search

SIZES = {"80 x 80": (80, 80), "125 x 83": (83, 125)}
LARGE = {"180 x 320": (180, 320)}
ROUNDED = 1e-5  # scores nearer than this are a tie within the rounding of float32


def by_convolution(query: torch.Tensor, ref: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    "Patches of the reference as kernels, as the published code does it: so many at a time that the scores fill 2 GB."
    query, ref = F.normalize(query)[0], F.normalize(ref)[0]
    c, h, w = query.shape
    patches = F.unfold(ref[None], 3)[0].T.view(-1, c, 3, 3)
    norms = patches.flatten(1).norm(dim=1) + 1e-5
    best, index, count = torch.full((h - 2, w - 2), -torch.inf), torch.zeros(h - 2, w - 2, dtype=torch.long), 2**29 // (h * w)
    for start in range(0, len(patches), count):
        part = patches[start : start + count] / norms[start : start + count].view(-1, 1, 1, 1)
        score, at = F.conv2d(query[None], part)[0].max(0)
        better = score > best
        best, index = torch.where(better, score, best), torch.where(better, at + start, index)
    return best, index


def differing(query: torch.Tensor, ref: torch.Tensor, ours: torch.Tensor, theirs: torch.Tensor) -> tuple[int, float]:
    "How many indices differ, and how far the two places' cosines are apart at most, in float64."
    unfold = lambda x, at: F.unfold(F.normalize(x.double()), 3)[0].T[at]
    places = (ours != theirs).flatten().nonzero()[:, 0]
    patches = F.normalize(unfold(query, places), dim=1)
    a, b = (F.normalize(unfold(ref, index.flatten()[places]), dim=1) for index in (ours, theirs))
    return len(places), ((a - b) * patches).sum(1).abs().max().item() if len(places) else 0.0


def measure(h: int, w: int) -> list[list]:
    generator = torch.Generator().manual_seed(0)
    query, ref = (torch.randn(1, 256, h, w, generator=generator) for _ in range(2))
    large = h * w > 20_000
    time = seconds if large else fastest
    result = {}
    base = time(lambda: result.update(base=by_convolution(query, ref)))
    rows = [["conv2d", f"{base:.3f}", "1", f"{extra_memory(lambda: by_convolution(query, ref)):.0f}" if not large else "", "", ""]]
    ways = {
        "ours": {},
        "ours, compiled": dict(compile=True),
        "ours, bfloat16": dict(precision="bfloat16"),
        "ours, bfloat16, compiled": dict(precision="bfloat16", compile=True),
    }
    for name, options in ways.items():
        search = lambda: result.update(matches=exact_search(query, [ref], **options))
        if "compile" in options:
            exact_search(query[..., :40, :40], [ref[..., :40, :40]], **options)
        t, memory = time(search), extra_memory(search)
        x, y = result["matches"].position[0, :, 1:-1, 1:-1].long() - 1
        count, distance = differing(query, ref, y * (w - 2) + x, result["base"][1])
        if not options.get("precision"):
            assert distance < ROUNDED, f"{name}: scores of differing places are {distance} apart"
        same = 100 - 100 * count / (h - 2) / (w - 2)
        rows.append([name, f"{t:.3f}", f"{base / t:.1f}", f"{memory:.0f}", f"{same:.2f}", f"{distance:.0e}"])
    return rows


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--large", action="store_true")
    torch.set_grad_enabled(False)
    text = machine()
    for name, size in {**SIZES, **(LARGE if parser.parse_args().large else {})}.items():
        text += f"\n\nGrids of {name}, 256 channels, 3 x 3 patches, descriptors of noise:\n\n"
        text += table("search | s | times faster | extra MB | same places, % | largest difference of cosines", measure(*size))
        print(text.splitlines()[-6:], flush=True)
    results("exact_search.md").write_text(text + "\n")
    print(text)
