"""Deformable convolution on the CPU: torchvision's operator, `grid_sample` and a product of matrices, and ours.

    python benchmarks/aggregation.py               # all cases, some minutes
    python benchmarks/aggregation.py "tiny x1"     # one or some of them
"""

import sys
import time
from functools import partial

import torch
from common import extra_memory, machine, results, table
from einops import rearrange
from torch.nn import functional as F

from c2m_blocks.deformable import deformable_convolution, tap_positions

CASES = {  # channels, groups, taps, height, width, standard deviation of the offsets in pixels
    "paper x4": (64, 8, 9, 320, 320, 3),
    "scattered": (64, 8, 9, 320, 320, 100),
    "paper x1": (256, 8, 9, 80, 80, 3),
    "paper x2": (128, 8, 9, 160, 160, 3),
    "tiny x1": (64, 4, 9, 90, 120, 3),
    "tiny x2": (32, 4, 1, 180, 240, 3),
    "tiny x4": (16, 4, 1, 360, 480, 3),
}


def by_torchvision(x, position, modulation, weight):
    from torchvision.ops import deform_conv2d

    k = round(weight.shape[-1] ** 0.5)
    offset = position - tap_positions(k, *x.shape[-2:], x)
    weight = rearrange(weight, "o c (i j) -> o c i j", i=k)
    return deform_conv2d(x, offset.flip(3).flatten(1, 3), weight, None, padding=k // 2, mask=modulation.flatten(1, 2))


def by_grid_sample(x, position, modulation, weight):
    (g, h), size = (position.shape[1], position.shape[-2]), x.new_tensor(x.shape[:1:-1])
    grid = rearrange(position, "b g k xy h w -> (b g) (k h) w xy")
    maps = rearrange(x, "b (g c) h w -> (b g) c h w", g=g)
    sampled = F.grid_sample(maps, (2 * grid + 1) / size - 1, align_corners=False)
    sampled = rearrange(sampled, "(b g) c (k h) w -> b g c k h w", g=g, h=h) * modulation[:, :, None]
    columns = rearrange(sampled, "b g c k h w -> b (g c k) (h w)")
    return rearrange(rearrange(weight, "o c k -> o (c k)") @ columns, "b o (h w) -> b o h w", h=h)


FORMS = {
    "torchvision": by_torchvision,
    "grid_sample": by_grid_sample,
    "ours": deformable_convolution,
    "compiled": partial(deformable_convolution, compile=True),
}


def inputs(c, g, k, h, w, spread):
    torch.manual_seed(0)
    x, offset = torch.randn(1, c, h, w), spread * torch.randn(1, g, k, 2, h, w)
    position = tap_positions(round(k**0.5), h, w, x) + offset
    return x, position, torch.rand(1, g, k, h, w), torch.randn(c, c, k) / (c * k) ** 0.5


def run(form, args, back):
    if not back:
        with torch.no_grad():
            return [FORMS[form](*args)]
    args = [a.detach().requires_grad_() for a in args]
    y = FORMS[form](*args)
    return torch.autograd.grad(y, args, torch.ones_like(y))


def measure(case, back):
    "A row of the table: the best of some calls of each form, in turn, so that what else the machine does meets all of them."
    args = inputs(*CASES[case])
    ms, found = dict.fromkeys(FORMS, torch.inf), {}
    for _ in range(2 if back else 6):
        for form in FORMS:
            start = time.perf_counter()
            found[form] = run(form, args, back)
            ms[form] = min(ms[form], (time.perf_counter() - start) * 1000)
    error = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found["ours"], found["torchvision"]))
    found.clear()
    memory = [extra_memory(lambda: run(form, args, back)) for form in FORMS]
    c, g, k, h, w, _ = CASES[case]
    return [
        f"{case}: {c}, {g}, {k}, {h} x {w}, {'forward + backward' if back else 'forward'}",
        *(f"{t:.0f}" for t in ms.values()),
        *(f"{ms['torchvision'] / ms[form]:.1f}" for form in ("grid_sample", "ours", "compiled")),
        " / ".join(f"{m:.0f}" for m in memory),
        f"{error:.0e}",
    ]


if __name__ == "__main__":
    header = "case: channels, groups, taps, size | torchvision ms | grid_sample ms | ours ms | ours, compiled ms "
    header += "| times faster than torchvision: grid_sample | ours | ours, compiled | extra MB of each | error"
    text = f"{machine()}\n\n" + table(header, [measure(case, back) for case in sys.argv[1:] or CASES for back in (False, True)])
    results("aggregation.md").write_text(text + "\n")
    print(text)
