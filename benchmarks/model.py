"""The paper's network end to end: the straightforward form of it against ours, and where the time goes.

    python benchmarks/model.py          # LR 80 x 80, two minutes
    python benchmarks/model.py --large  # and LR 125 x 83, the size of CUFED5

Straightforward means: 3 x 3 patches matched through `conv2d`, torchvision's deformable convolution, NCHW.
The weights are random and the same.
"""

from argparse import ArgumentParser
from unittest.mock import patch

import torch
from common import extra_memory, fastest, machine, results, table
from exact_search import by_convolution
from torchvision.ops import deform_conv2d

from c2m_blocks import RefSRNet, aggregation
from c2m_blocks.aggregation import tap_positions
from c2m_blocks.exact import as_matches


def deformable_by_torchvision(refs, position, modulation, weight, bias=None, ref_index=None):
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
    generator = torch.Generator().manual_seed(0)
    smooth = lambda *size: torch.rand(1, 3, *size, generator=generator)
    lr, ref = smooth(h, w), smooth(4 * h, 4 * w)
    torch.manual_seed(0)
    net = RefSRNet.preset("paper").eval()
    net.matcher.compile_search = True
    result, bfloat16 = {}, torch.autocast("cpu", torch.bfloat16)
    encoded = net.encode_reference(ref)
    ways = {
        "straightforward": lambda: straightforward(net, lr, ref),
        "ours": lambda: net(lr, ref),
        "ours, reference encoded before": lambda: net(lr, encoded),
        "ours, bfloat16 convolutions": lambda: under(bfloat16, lambda: net(lr, ref)),
    }
    rows, base = [], None
    for name, way in ways.items():
        time, memory = fastest(lambda: result.update({name: way()}), repeats), extra_memory(way)
        base = base or time
        rows.append([name, f"{time:.2f}", f"{base / time:.1f}", f"{memory:.0f}", difference(result[name], result["straightforward"])])
        net.to(memory_format=torch.channels_last)
    return rows


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
    results("model.md").write_text(text + "\n")
    print(text)
