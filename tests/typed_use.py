"""Every public block as a user with types would call it. `mypy --strict` reads this, see test_ecosystem.py; running it works, too."""
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from c2m_blocks import (
    BasicVSR,
    ContrastiveMatcher,
    CorrelationDistiller,
    DescriptorEncoder,
    Discriminator,
    DynamicAggregation,
    FlowMatcher,
    Matches,
    PatchSwap,
    PerceptualLoss,
    RefBasicVSR,
    RefSRNet,
    SPyNet,
    TextureEncoder,
    TripletMarginLoss,
    VGGFeatures,
    adversarial_loss,
    aee,
    bicubic,
    bicubic_pil,
    charbonnier,
    discriminator_loss,
    flow_warp,
    load_network,
    match_patches,
    psnr,
    read_checkpoint,
    read_image,
    rgb_to_y,
    ssim,
    write_image,
)


def restored(lr: Tensor, refs: list[Tensor]) -> list[Tensor]:
    net: RefSRNet = RefSRNet.from_pretrained("c2m-tiny")
    known = net.encode_reference(refs[0])
    matches: Matches = net.match(lr, [known])
    alone: Tensor = net(lr)
    several: Tensor = net(lr, [known, *refs[1:]], tile=16)
    again: Tensor = net(lr, known, matches=matches)
    return [alone, several, again]


def searched(lr: Tensor, ref: Tensor) -> Matches:
    matcher = ContrastiveMatcher(DescriptorEncoder(16), shifts_per_cell=2, refine_radius=1, pad=True, search="coarse")
    query = matcher.describe_query(lr)
    found: Matches = matcher(lr, matcher.describe(ref))
    exact = match_patches(query, [matcher.describe_ref(ref)], patch_size=3, precision="bfloat16")
    assert found.flow().shape == exact.flow().shape and exact.coherence().shape == exact.score.shape
    return found.upscale(2).crop(0, 0, 4, 4)


def aggregated(content: Tensor, features: Tensor, matches: Matches) -> Tensor:
    aggregate = DynamicAggregation(channels=16, content_channels=8, groups=4)
    swapped: Tensor = PatchSwap()(features, content, matches)
    gathered: Tensor = aggregate([features], content, matches)
    return swapped + gathered


def own_network() -> RefSRNet:
    width = (16, 16, 8)
    aggregators: list[torch.nn.Module | None] = [DynamicAggregation(16, 8), PatchSwap(), None]
    return RefSRNet(FlowMatcher(SPyNet(3, 4)), TextureEncoder(width), aggregators, channels=(8, 8, 8), blocks=(1, 1, 1, 1))


def restored_clip(frames: Tensor, ref: Tensor) -> list[Tensor]:
    net = RefBasicVSR.preset("c2m-video-tiny", fusion="concat").eval()
    whole: Tensor = net(frames, ref, search="propagate")
    plain: Tensor = BasicVSR(SPyNet(3, 4), channels=(8, 8, 8), blocks=(1, 1, 0))(frames)
    return [whole, plain, *net.stream(iter(frames.unbind(1)), [ref], window=2, overlap=1)]


def losses(sr: Tensor, hr: Tensor, homography: Tensor) -> Tensor:
    judge = Discriminator(width=4)
    total: Tensor = charbonnier(sr, hr) + adversarial_loss(judge(sr)) + discriminator_loss(judge, sr, hr)
    total = total + PerceptualLoss(VGGFeatures("vgg16", layers=("relu1_1",), pretrained=False))(sr, hr)
    margin = TripletMarginLoss(minimum=1)
    descriptors = DescriptorEncoder(16)
    query, ref = descriptors(sr)[0], descriptors(hr)[0]
    distilled: dict[str, Tensor] = CorrelationDistiller(margin)((query, ref), (query.detach(), ref.detach()), homography)
    return total + distilled["total"]


def measured(sr: Tensor, hr: Tensor) -> dict[str, float]:
    flow = SPyNet(3, 4)(sr, hr)
    assert isinstance(flow, Tensor)
    figures = dict(psnr=psnr(sr, hr, border=4), ssim=ssim(sr, hr, luma=False), aee=aee(flow, torch.zeros_like(flow)))
    return {name: value.mean().item() for name, value in figures.items()}


def files(picture: Tensor, folder: Path) -> Tensor:
    write_image(picture, folder / "a.png", bits=16)
    network = own_network()
    network.save_pretrained(folder / "net")
    weights: dict[str, Tensor] = read_checkpoint(folder / "net" / "model.safetensors")
    again = load_network(folder / "net")
    assert isinstance(again, RefSRNet) and weights.keys() == again.state_dict().keys()
    return read_image(folder / "a.png")


if __name__ == "__main__":
    with torch.no_grad():
        hr = torch.rand(1, 3, 64, 64)
        lr, ref = bicubic_pil(hr, 0.25), hr.flip(3)
        assert bicubic(lr, size=(64, 64)).shape == hr.shape and rgb_to_y(hr).shape == (1, 1, 64, 64)
        assert all(sr.shape == hr.shape for sr in restored(lr, [ref, ref]))
        searched(lr, ref)
        aggregated(torch.rand(1, 8, 16, 16), torch.rand(1, 16, 16, 16), Matches.from_flow(torch.zeros(1, 2, 16, 16)))
        restored_clip(lr[:, None].repeat(1, 3, 1, 1, 1), ref)
        flow_warp(hr, torch.zeros(1, 2, 64, 64), border=True)
        print(measured(bicubic_pil(lr, 4), hr))
        with TemporaryDirectory() as folder:
            files(hr, Path(folder))
    print(losses(hr.clone().requires_grad_(), hr, torch.eye(3)[None]))
