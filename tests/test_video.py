"""The video network against a plain form of it, and what notebooks have no room for: precision, memory, saving, compiling."""

import pytest
import torch
from golden import golden_checkpoint
from torch.nn import functional as F

from c2m_blocks import BasicVSR, ContrastiveMatcher, RefBasicVSR, SPyNet, bicubic_pil
from c2m_blocks.flow import flow_warp
from c2m_blocks.weights import load_network

SMALL = dict(channels=(8, 8, 8), blocks=(1, 1, 1))


def small_net(**options) -> RefBasicVSR:
    torch.manual_seed(0)
    return RefBasicVSR(ContrastiveMatcher(pad=True), flow=SPyNet(3, 4), **options, **SMALL).eval()


def plain(weights: dict, frames: torch.Tensor, ref: torch.Tensor, net: RefBasicVSR) -> torch.Tensor:
    "Eq. 15 and 16 written down with the published names; flow, matching and aggregation are those of `net`, which are checked elsewhere."

    def conv(x, name):
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    leaky = lambda x: F.leaky_relu(x, 0.1)

    def trunk(x, name):
        x = leaky(conv(x, f"{name}.main.0"))
        for i in range(30):
            x = x + conv(conv(x, f"{name}.main.2.{i}.conv1").relu(), f"{name}.main.2.{i}.conv2")
        return x

    def enlarged(x):
        for level in ("upsample1", "upsample2"):
            x = leaky(F.pixel_shuffle(conv(x, f"{level}.upsample_conv"), 2))
        return x

    def weighed(frame, x, name):
        y = leaky(conv(torch.cat([frame, x], 1), f"{name}.0"))
        return conv(leaky(conv(y, f"{name}.2")), f"{name}.4").sigmoid() * x

    features, t = trunk(frames, "lr_resblocks"), len(frames)
    states = {}
    for direction, order in (("backward", range(t - 1, -1, -1)), ("forward", range(t))):
        state, before = torch.zeros_like(features[:1]), None
        for i in order:
            if before is not None:
                state = flow_warp(state, net.flow(frames[i : i + 1], frames[before : before + 1]))
            state = trunk(torch.cat([features[i : i + 1], state], 1), f"{direction}_resblocks")
            states[direction, i], before = state, i
    texture, results = net.encoder(ref)[0], []
    for i in range(t):
        frame = enlarged(features[i : i + 1])
        found = net.matcher(frames[i : i + 1], ref, lr_up=bicubic_pil(frames[i : i + 1], 4))
        swap = leaky(net.aggregator(texture, frame, found))
        branches = dict(swap=swap, forward=enlarged(states["forward", i]), backward=enlarged(states["backward", i]))
        concat_tables = leaky(conv(torch.cat([weighed(frame, x, f"{name}_attention") for name, x in branches.items()], 1), "fusion"))
        last = conv(leaky(conv(leaky(conv(concat_tables, "conv_hr.0")), "conv_hr.2")), "conv_last")
        results.append(last + F.interpolate(frames[i : i + 1], scale_factor=4, mode="bilinear"))
    return torch.stack(results, 1)


@torch.no_grad()
def test_other_weights_and_sizes_equal_the_plain_form():
    weights = golden_checkpoint("video", seed=2)
    net = RefBasicVSR.from_published(weights)
    frames = torch.rand(2, 3, 40, 52, generator=torch.Generator().manual_seed(0))
    ref = torch.rand(1, 3, 160, 208, generator=torch.Generator().manual_seed(1))
    assert (net(frames[None], ref) - plain(weights, frames, ref, net)).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 16)])
@pytest.mark.parametrize("preset", ["paper", "c2m-video-tiny"])
def test_any_size_from_sixteen_pixels_on(size, preset):
    net = RefBasicVSR.preset(preset).eval()
    frames, ref = torch.rand(1, 2, 3, *size), torch.rand(1, 3, 4 * size[0], 4 * size[1])
    assert net(frames, ref).shape == net(frames).shape == (1, 2, 3, 4 * size[0], 4 * size[1])


@torch.no_grad()
def test_streams_in_any_window_are_the_clip():
    net, clip, ref = small_net(), torch.rand(1, 9, 3, 18, 20), torch.rand(1, 3, 64, 60)
    whole = net(clip, ref)
    for window in (1, 2, 4, 9, 20):
        streamed = torch.stack([*net.stream(clip.unbind(1), ref, window=window, overlap=9)], 1)
        assert torch.allclose(streamed, whole, atol=1e-5), window
    propagated = net(clip, ref, search="propagate")
    assert torch.allclose(torch.stack([*net.stream(clip.unbind(1), ref, 2, 9, "propagate")], 1), propagated, atol=1e-5)


def test_half_precision_and_gradients():
    net, clip, ref = small_net().train(), torch.rand(2, 3, 3, 16, 16), torch.rand(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(clip, ref)
    assert half.dtype == torch.float32 and (half - net(clip, ref)).abs().max() < 0.05
    half.mean().backward()
    assert all(p.grad.isfinite().all() for name, p in net.named_parameters() if not name.startswith("matcher"))


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, dict(align="flow"), dict(fusion="concat")])
def test_saved_and_loaded(tmp_path, options):
    net, clip, ref = small_net(**options), torch.rand(1, 2, 3, 16, 16), torch.rand(1, 3, 64, 64)
    net.save_pretrained(tmp_path)
    loaded = load_network(tmp_path)
    assert type(loaded) is RefBasicVSR and loaded(clip, ref).equal(net(clip, ref))
    plain_net = BasicVSR(SPyNet(3, 4), **SMALL).eval()
    plain_net.save_pretrained(tmp_path / "plain")
    assert type(load_network(tmp_path / "plain")) is BasicVSR
    with pytest.raises(ValueError, match="holds no RefBasicVSR.*load_network"):
        RefBasicVSR.from_pretrained(tmp_path / "plain")


@torch.no_grad()
def test_compiled_parts_give_the_same():
    net, clip, ref = small_net(), torch.rand(1, 2, 3, 16, 16), torch.rand(1, 3, 64, 64)
    expected = net(clip, ref)
    for name in ("content", "forward_branch", "backward_branch", "enlarge", "fusion", "tail", "flow"):
        net.get_submodule(name).compile(backend="eager", fullgraph=True)
    assert torch.allclose(net(clip, ref), expected, atol=1e-5)
