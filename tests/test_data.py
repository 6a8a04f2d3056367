"""Data sets: the same seed gives the same items, now and in later versions, and any degradation makes the LR images."""
import hashlib
import pickle
import platform
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from c2m_blocks.data import PhotoPairs, SyntheticPairs, folder_pairs
from c2m_blocks.degradation import Bicubic, degradation_scale
from c2m_blocks.matches import Matches
from c2m_blocks.resample import bicubic, bicubic_pil
from c2m_blocks.video_data import FlowPairs, PhotoClips

DEMO = Path(__file__).parents[1] / "c2m_blocks" / "assets" / "demo"
PHOTOS = sorted(DEMO.glob("*.png"))


def in_place(lr, ref):
    "A matcher that finds everything where it is; both photos are of one size."
    return Matches.from_flow(torch.zeros(1, 2, *lr.shape[-2:]))


MADE = {
    "synthetic": partial(SyntheticPairs, PHOTOS, size=96, seed=3),
    "pairs": partial(PhotoPairs, folder_pairs(DEMO), in_place, size=96, seed=3),
    "clips": partial(PhotoClips, PHOTOS, frames=4, size=96, seed=3),
    "flow": partial(FlowPairs, PHOTOS, size=48, seed=3),
}
KEYS = (0, (2, 0), (5, 0))
# of items of version 0.1 before the degradation was an argument: a digest of what PIL computes
DIGESTS = {
    "synthetic": ["5b8b196ee753c3ac", "9aac59734503c7f9", "a756fa9dc4c3a79a"],
    "pairs": ["68f3853e8a24bba0", "49ee724d735a5d06", "ba1afe2f4dd400cf"],
    "clips": ["eaa9235a1e1651e5", "f69df7e30a46f2f8", "d7ad0d90b937350f"],
}
# and the weighted sums of what is computed in floating point, which may differ in the last digit from machine to machine
SUMS = {
    ("synthetic", "ref"): [-13.40799, -3.13066, 7.26617],
    ("synthetic", "homography"): [11.81246, -44.64682, -24.90165],
    ("pairs", "ref"): [2.30588, 2.166, 4.9695],
    ("clips", "ref"): [0.33857, 11.93442, 6.57502],
    ("flow", "frame"): [0.2497, -0.84073, -0.49248],
    ("flow", "other"): [-0.19677, -0.52048, -0.09596],
    ("flow", "flow"): [-0.16996, 0.47879, -0.61706],
}


def digest(item):
    return hashlib.sha256(b"".join(item[name].contiguous().numpy().tobytes() for name in ("lr", "hr"))).hexdigest()[:16]


def weighted_sum(x):
    "A number that changes if any pixel does, or if two are exchanged."
    return (x.double().flatten() * torch.arange(x.numel()).double().sin()).sum().item()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="PIL may round differently elsewhere")
@pytest.mark.parametrize("name", DIGESTS)
def test_same_seed_gives_the_items_of_earlier_versions(name):
    data = MADE[name]()
    assert [digest(data[key]) for key in KEYS] == DIGESTS[name]


@pytest.mark.parametrize("name, part", SUMS)
def test_same_seed_gives_the_numbers_of_earlier_versions(name, part):
    data = MADE[name]()
    assert [weighted_sum(data[key][part]) for key in KEYS] == pytest.approx(SUMS[name, part], abs=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_pil_and_matlab(scale):
    hr = torch.rand(2, 3, 24, 36)
    images = [Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy()) for x in hr]
    small = [np.asarray(image.resize((36 // scale, 24 // scale), Image.Resampling.BICUBIC)) for image in images]
    assert Bicubic(scale)(hr).mul(255).round().byte().numpy().transpose(0, 2, 3, 1).tolist() == np.stack(small).tolist()
    assert torch.equal(Bicubic(scale)(hr), bicubic_pil(hr, size=(24 // scale, 36 // scale)))
    assert torch.equal(Bicubic(scale, "matlab")(hr), bicubic(hr, 1 / scale).mul(255).round().clamp(0, 255) / 255)
    assert torch.equal(Bicubic(scale)(hr[None])[0, 1], Bicubic(scale)(hr[1])), "any leading axes"


def noisy(hr, rng):
    "A degradation that draws; at module level, so that it can be sent to workers."
    return (Bicubic(2)(hr) + rng.normal(0, 0.05)).clamp(0, 1)


@pytest.mark.parametrize("name", ["synthetic", "pairs", "clips"])
@pytest.mark.parametrize("degrade", [Bicubic(2), Bicubic(3, "matlab"), noisy])
def test_any_degradation_makes_the_lr_images(name, degrade):
    data, default = MADE[name](degrade=degrade), MADE[name]()
    item, same = data[2, 0], pickle.loads(pickle.dumps(data))[2, 0]
    assert data.scale == degradation_scale(degrade) and item["lr"].shape[-1] == 96 // data.scale
    assert torch.equal(item["lr"], same["lr"]) and item["lr"].is_floating_point()
    assert torch.equal(item["hr"], default[2, 0]["hr"]), "only LR differs"
    if name != "pairs":  # its place in the reference is known to a cell of the LR image
        assert torch.equal(item["ref"], default[2, 0]["ref"])


def test_a_clip_is_degraded_alike():
    item = MADE["clips"](degrade=noisy)[0]
    drawn = (item["lr"] - Bicubic(2)(item["hr"])).flatten(1)
    assert torch.allclose(drawn.median(1).values, drawn.median(), atol=1e-6) and drawn.median() != 0


@pytest.mark.parametrize("name", ["synthetic", "pairs", "clips"])
def test_degradations_that_do_not_fit(name):
    with pytest.raises(ValueError, match="size is 96 pixels, but has to be a multiple of the factor 5: take 95"):
        MADE[name](degrade=Bicubic(5))
    with pytest.raises(ValueError, match=r"degrade makes a tensor \(3, 95, 96\) of an image \(3, 96, 96\)"):
        MADE[name](degrade=lambda hr, rng: hr[..., 1:, :])
