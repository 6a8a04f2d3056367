"""The pseudo-random weights for which the reference implementation's outputs are stored in tests/data."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch


def golden_weights(shapes: dict[str, tuple[int, ...]], seed: int = 1) -> dict[str, torch.Tensor]:
    "A weight for each name and shape, a function of the name alone."
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
        x = rng.standard_normal(math.prod(shape)).astype(np.float32).reshape(shape)
        if name.endswith("bias"):
            gain = 0.05
        else:
            gain = 1.0 if "conv_offset_mask" in name else 0.4 if "body" in name or "resblocks" in name else 1.3
            gain /= math.sqrt(math.prod(shape[1:]))
        weights[name] = torch.from_numpy(x * np.float32(gain))
    return weights


def golden_checkpoint(network: str, seed: int = 1) -> dict[str, torch.Tensor]:
    "The state dict of the reference implementation's `extractor`, `vgg19` or `restorer`."
    names = json.loads((Path(__file__).parent / "data" / "golden_names.json").read_text())
    return golden_weights(dict(names[network]), seed)
