"""What several references are good for.

    python benchmarks/references.py PAIRS   # a folder with NAME_input.png and NAME_ref.png

One reference is cut into three strips, as if three photos showed a third of the scene each. The network gets one of them, two,
all three, and the whole.
"""

from argparse import ArgumentParser
from pathlib import Path

import torch
from common import results, table

from c2m_blocks import psnr, read_image
from c2m_blocks.data import folder_pairs
from c2m_blocks.degradation import Bicubic
from c2m_blocks.restoration import RefSRNet

COUNT = 12  # pairs, spread over the folder


def references(ref: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    left, middle, right = ref.tensor_split(3, dim=3)
    return {"none": [], "middle": [middle], "middle, left": [middle, left], "middle, left, right": [middle, left, right], "whole": [ref]}


def measure(pair: tuple[Path, Path], net: RefSRNet) -> dict[str, float]:  # PSNR-Y
    hr, ref = map(read_image, pair)
    hr = hr[..., : hr.shape[2] // net.scale * net.scale, : hr.shape[3] // net.scale * net.scale]
    lr = Bicubic(net.scale)(hr)
    return {name: psnr(net(lr, refs or None).clamp(0, 1), hr, border=net.scale).item() for name, refs in references(ref).items()}


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("pairs", type=Path)
    torch.set_grad_enabled(False)
    pairs = list(folder_pairs(parser.parse_args().pairs).values())
    net = RefSRNet.from_pretrained("c2m-tiny").eval()
    measured = [measure(pair, net) for pair in pairs[:: max(1, len(pairs) // COUNT)][:COUNT]]
    rows = [[name, f"{sum(m[name] for m in measured) / len(measured):.2f}"] for name in measured[0]]
    text = f"{len(measured)} pairs, PSNR on MATLAB luma, border {net.scale}.\n\n" + table("references | PSNR-Y, dB", rows)
    results("references.md").write_text(text + "\n")
    print(text)
