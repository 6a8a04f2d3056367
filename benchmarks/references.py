"""What a second and a third reference are good for.

    python benchmarks/references.py PHOTOS   # a folder; references of a photo are the three that follow it by name
"""

from argparse import ArgumentParser
from pathlib import Path

import torch
from common import results, table

from c2m_blocks import psnr, read_image
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.weights import RefSRNet

COUNT = 16  # photos, spread over the folder
MOST = 3  # references


def measure(photos: list[Path], net: RefSRNet) -> torch.Tensor:  # (photos, 1 + MOST): PSNR-Y with 0, 1, 2, 3 references
    rows = []
    for i in range(0, len(photos) - MOST, max(1, len(photos) // COUNT)):
        hr, *refs = (read_image(photo) for photo in photos[i : i + 1 + MOST])
        hr = hr[..., : hr.shape[2] // 4 * 4, : hr.shape[3] // 4 * 4]
        lr = bicubic_pil(hr, 0.25)
        rows.append([psnr(net(lr, refs[:n] or None).clamp(0, 1), hr, border=4).item() for n in range(1 + MOST)])
    return torch.tensor(rows)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("photos", type=Path)
    torch.set_grad_enabled(False)
    photos = sorted(path for path in parser.parse_args().photos.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    values = measure(photos, RefSRNet.from_pretrained("c2m-tiny").eval())
    gains = (values[:, 1:] - values[:, :-1]).min(0).values
    rows = [
        [n, f"{values[:, n].mean():.2f}", f"{gains[n - 1]:+.2f}" if n else ""]
        for n in range(1 + MOST)
    ]
    text = f"{len(values)} photos, PSNR on MATLAB luma, border 4.\n\n"
    text += table("references | PSNR-Y, dB, mean | least gain of a photo over one reference less, dB", rows)
    results("references.md").write_text(text + "\n")
    print(text)
