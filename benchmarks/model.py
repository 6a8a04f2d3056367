"""The paper's network end to end: the straightforward form of it against ours, and where the time goes.

    python benchmarks/model.py          # LR 80 x 80, two minutes
    python benchmarks/model.py --large  # and LR 125 x 83, the size of CUFED5

Straightforward means: 3 x 3 patches matched through `conv2d`, torchvision's deformable convolution, NCHW.
The weights are random and the same.
"""

from argparse import ArgumentParser
from copy import deepcopy
from unittest.mock import patch

import torch
from common import extra_memory, fastest, machine, results, seconds, table
from exact_search import by_convolution
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import deform_conv2d

from c2m_blocks import RefSRNet, aggregation
from c2m_blocks.deformable import tap_positions
from c2m_blocks.patches import as_matches


def deformable_by_torchvision(refs, position, modulation, weight, bias=None, ref_index=None, compile=False):
    plain = tap_positions(3, *position.shape[-2:], position)
    offset = (position - plain).flip(3).flatten(1, 3)
    mask = modulation.flatten(1, 2).contiguous()
    return deform_conv2d(refs[0].contiguous(), offset.contiguous(), weight.unflatten(2, (3, 3)), bias, padding=1, mask=mask)


def straightforward(net: RefSRNet, lr: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
    query, described = net.matcher.describe_query(lr), net.matcher.describe_ref(ref)
    score, index = by_convolution(query, described)
    width = described.shape[3] - 2
    x, y = (place[None] for place in (index % width, index // width))
    matches = as_matches(score[None], x, y, torch.zeros_like(x), [described], 3)
    with patch.object(aggregation, "deformable_convolution", deformable_by_torchvision):
        return net.restore(lr, net.encoder(ref), matches)


def difference(a: torch.Tensor, b: torch.Tensor) -> str:
    "PSNR of one result against the other, dB."
    return f"{-10 * torch.log10((a - b).square().mean()).item():.1f}"


def measure(h: int, w: int, repeats: int) -> list[list]:
    "A row for each way: the best of some calls, in turn, so that what else the machine does meets all of them."
    generator = torch.Generator().manual_seed(0)
    smooth = lambda *size: torch.rand(1, 3, *size, generator=generator)
    lr, ref = smooth(h, w), smooth(4 * h, 4 * w)
    torch.manual_seed(0)
    plain = RefSRNet.preset("paper").eval()
    net = deepcopy(plain).to(memory_format=torch.channels_last)
    net.matcher.compile_search = True
    bfloat16, encoded = torch.autocast("cpu", torch.bfloat16), net.encode_reference(ref)
    ways = {
        "straightforward": lambda: straightforward(plain, lr, ref),
        "ours": lambda: net(lr, ref),
        "ours, reference encoded before": lambda: net(lr, encoded),
        "ours, bfloat16 convolutions": lambda: under(bfloat16, lambda: net(lr, ref)),
    }
    result, times = {name: way() for name, way in ways.items()}, dict.fromkeys(ways, torch.inf)
    for _ in range(repeats):
        for name, way in ways.items():
            times[name] = min(times[name], seconds(way))
    first, base = result["straightforward"], times["straightforward"]
    return [
        [name, f"{times[name]:.2f}", f"{base / times[name]:.1f}", f"{extra_memory(way):.0f}", difference(result[name], first)]
        for name, way in ways.items()
    ]


def limit(h: int, w: int) -> tuple[float, list[list]]:
    "10^9 operations of the products in ours, and what the processor does of them in a second when it does nothing else."
    lr, ref, net = torch.rand(1, 3, h, w), torch.rand(1, 3, 4 * h, 4 * w), RefSRNet.preset("paper").eval()
    with FlopCounterMode(display=False) as counter:
        net(lr, ref)
    rows, work = [], counter.get_total_flops() / 1e9
    for dtype in (torch.float32, torch.bfloat16):
        a, x, kernel = torch.rand(3072, 3072).to(dtype), torch.rand(1, 64, 4 * h, 4 * w).to(dtype), torch.rand(64, 64, 3, 3).to(dtype)
        turned = [t.contiguous(memory_format=torch.channels_last) for t in (x, kernel)]
        product = 2 * 3.072**3 / fastest(lambda: a @ a)
        speeds = [2 * x[0].numel() * 9 * 64 / 1e9 / fastest(lambda: F.conv2d(*args, padding=1), 8) for args in ((x, kernel), turned)]
        best = max(product, *speeds)
        rows.append([str(dtype).removeprefix("torch."), *(f"{speed:.0f}" for speed in (product, *speeds)), f"{work / best:.2f}"])
    return work, rows


def under(context, f):
    with context:
        return f()


def parts(h: int, w: int) -> list[list]:
    "Seconds of each part of ours."
    torch.manual_seed(0)
    lr, ref = torch.rand(1, 3, h, w), torch.rand(1, 3, 4 * h, 4 * w)
    net = RefSRNet.preset("paper").eval().to(memory_format=torch.channels_last)
    net.matcher.compile_search = True
    described, maps = net.matcher.describe(ref), net.features(ref)
    matches = net.matcher(lr, described)
    with patch.object(aggregation, "deformable_convolution", lambda refs, position, *rest, **more: refs[0]):
        convolutions = fastest(lambda: net.restore(lr.contiguous(memory_format=torch.channels_last), maps, matches))
    restore = fastest(lambda: net.restore(lr.contiguous(memory_format=torch.channels_last), maps, matches))
    times = {
        "describe the reference": fastest(lambda: net.matcher.describe(ref)),
        "describe the query": fastest(lambda: net.matcher.describe_query(lr)),
        "match": fastest(lambda: net.matcher(lr, described)),
        "features of the reference": fastest(lambda: net.features(ref)),
        "deformable convolutions": restore - convolutions,
        "all other convolutions": convolutions,
    }
    times["match"] -= times["describe the query"]
    whole = sum(times.values())
    return [[name, f"{time:.2f}", f"{100 * time / whole:.0f}"] for name, time in times.items()]


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--large", action="store_true")
    torch.set_grad_enabled(False)
    text = machine()
    for h, w in [(80, 80), (83, 125)] if parser.parse_args().large else [(80, 80)]:
        text += f"\n\nLR {w} x {h}, reference {4 * w} x {4 * h}, preset `paper`:\n\n"
        text += table("network | s | times faster | extra MB | PSNR against the first, dB", measure(h, w, 3 if h == 80 else 1))
        text += "\n\n" + table("part of ours | s | %", parts(h, w))
        work, rows = limit(h, w)
        text += f"\n\nConvolutions and products of ours are {work:.0f} billion operations. What this processor does in a second, in a large"
        text += " product of matrices and in a convolution of 64 channels at full size, and how long the network takes at the best:\n\n"
        text += table("precision | product, 10^9/s | convolution, NCHW | convolution, channels last | least s", rows)
    results("model.md").write_text(text + "\n")
    print(text)
