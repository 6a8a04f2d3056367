"""The factor is a value: networks for x2 and x3 are built, run, cut into tiles, saved, and exported as those for x4 are."""
import pytest
import torch
from PIL import Image

from c2m_blocks import RefBasicVSR, RefSRNet, load_network
from c2m_blocks.cli import main
from c2m_blocks.export import export_encoder, export_matcher, export_restorer, map_names
from c2m_blocks.flow import SPyNet
from c2m_blocks.inference import find_matches, tile_for, upscale
from c2m_blocks.matches import draw_matches

SCALES = (2, 3)


@pytest.fixture(scope="module", params=SCALES)
def net(request) -> RefSRNet:
    torch.manual_seed(0)
    return RefSRNet.preset("c2m-tiny", scale=request.param).eval()


@pytest.fixture(scope="module")
def pair(net) -> tuple[torch.Tensor, torch.Tensor]:
    "An LR image, and a reference in which it lies one pixel further right and two further down."
    generator = torch.Generator().manual_seed(1)
    ref = torch.rand(1, 3, 20, 26, generator=generator)
    ref = torch.nn.functional.interpolate(ref, scale_factor=net.scale, mode="bicubic").clamp(0, 1)
    return torch.nn.functional.avg_pool2d(ref, net.scale)[..., 2:14, 3:19], ref


@torch.no_grad()
def test_sizes_and_tiles(net, pair):
    lr, ref = pair
    s, (h, w) = net.scale, lr.shape[2:]
    for refs in (None, ref, [ref, ref[..., : 9 * s]], net.encode_reference(ref)):
        sr = net(lr, refs)
        assert sr.shape == (1, 3, s * h, s * w) and torch.allclose(net(lr, refs, tile=5), sr, atol=1e-5)
    assert torch.allclose(upscale(lr, ref, net), net(lr, ref).clamp(0, 1), atol=1e-5)
    assert tile_for(net, lr, [ref], "2GB") is None


@torch.no_grad()
def test_matches_are_where_they_are(net, pair):
    "In cells as wide as the factor, to the pixel; the untrained encoders of both images are the same."
    lr, ref = pair
    up = torch.nn.functional.interpolate(lr, scale_factor=net.scale, mode="nearest")
    found = net.matcher(lr, ref, lr_up=ref[..., 2 * net.scale : 14 * net.scale, 3 * net.scale : 19 * net.scale])
    assert found.cell == net.scale and found.ref_size == (20, 26) and up.shape[2] == 12 * net.scale
    inner = found.pixels()[0, :, 3:-3, 3:-3] - net.scale * (found.places()[:, 3:-3, 3:-3] + torch.tensor([3, 2]).view(2, 1, 1))
    assert ((inner - (net.scale - 1) / 2).abs().amax(0) < 1e-4).float().mean() > 0.95
    assert draw_matches(lr, ref, find_matches(lr, ref, net)).axes


@torch.no_grad()
def test_exported(net, pair):
    encoder, matcher, restorer = (export(net).module() for export in (export_encoder, export_matcher, export_restorer))
    for lr, ref in (pair, (pair[0][..., :10, :9], pair[1][..., : 7 * net.scale])):
        known = encoder(ref=ref)
        assert known.keys() == {"descriptors", *map_names(net)}
        found = matcher(lr=lr, descriptors=known.pop("descriptors"))
        assert torch.equal(found["position"], net.match(lr, [ref]).position)
        assert torch.allclose(restorer(lr=lr, **found, **known)["sr"], net(lr, ref), atol=1e-5)


def test_saved_and_used_by_the_command(net, pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net.save_pretrained("net")
    assert load_network("net").scale == net.scale and load_network("net").matcher.scale == net.scale
    Image.effect_noise((16, 12), 80).save("small.png")
    main(["upscale", "small.png", "--no-ref", "--model", "net"])
    with Image.open(f"small_x{net.scale}.png") as result:
        assert result.size == (16 * net.scale, 12 * net.scale)


@torch.no_grad()
@pytest.mark.parametrize("scale", SCALES)
def test_clips(scale):
    net = RefBasicVSR(flow=SPyNet(3, 4), channels=(8, 8), blocks=(1, 1, 0), scale=scale).eval()
    clip, ref = torch.rand(1, 3, 3, 16, 20), torch.rand(1, 3, 17 * scale, 21 * scale)
    for options in (dict(), dict(ref=ref), dict(ref=ref, search="propagate")):
        assert net(clip, **options).shape == (1, 3, 3, 16 * scale, 20 * scale)
    by_flow = RefBasicVSR(flow=SPyNet(3, 4), align="flow", channels=(8, 8), blocks=(1, 1, 0), scale=scale).eval()
    assert by_flow(clip, ref).shape[-2:] == (16 * scale, 20 * scale)
    with pytest.raises(ValueError, match="the flow takes no search"):
        by_flow(clip, ref, search="coarse")
    with pytest.raises(ValueError, match="give 2 channels, not 3"):
        RefBasicVSR(channels=(8, 8, 8), scale=scale)
