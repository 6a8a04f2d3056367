"""Nothing that a call is told stays behind: in a network, in its parts, in the process; and types and devices are what they were."""
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from c2m_blocks import ContrastiveMatcher, DynamicAggregation, Matches, RefBasicVSR, RefSRNet, TextureEncoder, VGGFeatures, match_patches
from c2m_blocks.core import write_text
from c2m_blocks.features import TimmFeatures
from c2m_blocks.inference import restore, upscale
from c2m_blocks.runs import fingerprint

LR, REF = torch.rand(1, 3, 12, 16), torch.rand(1, 3, 60, 52)


@pytest.fixture(scope="module")
def net() -> RefSRNet:
    return RefSRNet.from_pretrained("c2m-tiny")


def test_generators_take_turns(net):
    before = fingerprint(net)
    frames = [LR, LR.flip(3)]
    alone = [list(restore(frames, net, [REF], search=search)) for search in ("exact", "coarse")]
    for pair, expected in zip(zip(*(restore(frames, net, [REF], search=s) for s in ("exact", "coarse"))), zip(*alone), strict=True):
        assert all(map(torch.equal, pair, expected)) and fingerprint(net) == before
    unfinished = restore(frames, net, [REF], search="coarse")
    next(unfinished)
    assert net.matcher.search == "exact" and fingerprint(net) == before


def test_threads_share_a_network(net):
    "Four threads, two ways to search: each gets the bits of one thread, and the process is as it was."
    options = [dict(search="exact"), dict(search="coarse"), dict(search="exact", tile=8), dict(refs=None)]
    given = [dict(lr=LR, refs=REF, model=net) | option for option in options]
    before, switch = fingerprint(net), torch.backends.mkldnn.matmul.fp32_precision
    expected = [upscale(**one) for one in given]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert all(map(torch.equal, pool.map(lambda one: upscale(**one), given), expected))
    assert fingerprint(net) == before and torch.backends.mkldnn.matmul.fp32_precision == switch


def test_products_of_threads_leave_the_precision_alone():
    before = torch.backends.mkldnn.matmul.fp32_precision
    maps = torch.rand(1, 8, 40, 40), torch.rand(1, 8, 50, 40)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: match_patches(*maps), range(12)))
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_files_of_threads_leave_the_umask_alone(tmp_path):
    mask = os.umask(0o027)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: write_text(tmp_path / f"{i}.txt", "text"), range(40)))
        assert os.umask(0o027) == 0o027
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o640}, "the rights of any other file"
    finally:
        os.umask(mask)


class Aligner:
    def find(self, lr, ref):
        return Matches.from_flow(torch.zeros_like(lr[:, :2]), ref_size=tuple(n // 4 for n in ref.shape[2:]))


def test_any_callable_is_a_matcher():
    method = Aligner().find
    function = lambda lr, ref: method(lr, ref)
    for matcher in (method, function):
        net = RefSRNet(matcher, blocks=(1, 1, 1, 1))
        assert upscale(LR, REF, net).shape == (1, 3, 48, 64)
        assert [sr.shape for sr in restore([LR], net, [REF])] == [(1, 3, 48, 64)]
        with pytest.raises(ValueError, match="takes no search: omit it"):
            upscale(LR, REF, net, search="coarse")
    assert vars(function) == {}, "nothing sticks to it"


def test_a_learner_stays_a_learner():
    net = RefSRNet.preset("c2m-tiny").train()
    upscale(LR, REF, net), list(restore([LR], net, [REF]))
    assert all(part.training for part in net.modules())
    video = RefBasicVSR.preset("c2m-video-tiny").train()
    list(restore([LR, LR], video, [REF], search="propagate"))
    assert all(part.training for part in video.modules())


LOST = [dict(search="coarse"), dict(stride=2), dict(precision="bfloat16"), dict(forbidden=torch.zeros(1, 20, 20))]


@pytest.mark.parametrize("given", LOST)
def test_export_refuses_what_it_would_lose(given):
    class Search(torch.nn.Module):
        def forward(self, query, ref):
            return match_patches(query, ref, **given).score

    with pytest.raises(Exception, match=f"{next(iter(given))} can't be exported"):
        torch.export.export(Search(), (torch.rand(1, 4, 9, 9), torch.rand(1, 4, 20, 20)))


NETS = {
    "c2m-tiny": lambda: RefSRNet.from_pretrained("c2m-tiny"),
    "paper": lambda: RefSRNet(
        ContrastiveMatcher(VGGFeatures("vgg11", ("conv3_1",), pretrained=False)),
        VGGFeatures("vgg11", ("relu3_1", "relu2_1", "relu1_1"), pretrained=False),
        [DynamicAggregation(c, 8, guide="raw") for c in (256, 128, 64)],
        (8, 8, 8),
        (1, 1, 1, 1),
    ),
    "timm": lambda: RefSRNet(encoder=TimmFeatures("test_resnet", (4, 2), pretrained=False), blocks=(1, 1, 1, 1)),
    "swap": lambda: RefSRNet(encoder=TextureEncoder((8, 8, 8)), scale=4, blocks=(1, 1, 1, 1)),
    "x3": lambda: RefSRNet.preset("c2m-tiny", scale=3),
}


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", NETS)
def test_other_types(name, dtype):
    "Positions stay float32, and the result is that of float32 as far as the type has digits."
    torch.manual_seed(0)
    net = NETS[name]().eval()
    lr, ref = torch.rand(1, 3, 12, 16), torch.rand(1, 3, 12 * net.scale, 16 * net.scale)
    matches, expected = net.match(lr, [ref]), net(lr, ref)
    net = net.to(dtype)
    sr = net(lr.to(dtype), ref.to(dtype), matches=matches)
    assert sr.dtype == dtype and (sr.float() - expected).abs().mean() < dict(bfloat16=0.02, float16=0.005, float64=1e-5)[str(dtype)[6:]]
    found = net.match(lr.to(dtype), [ref.to(dtype)])
    assert found.position.dtype == found.score.dtype == torch.float32
    assert net(lr.to(dtype), ref.to(dtype)).dtype == net(lr.to(dtype)).dtype == dtype


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_of_clips(dtype):
    net = RefBasicVSR.from_pretrained("c2m-video-tiny").to(dtype)
    clip = torch.rand(1, 3, 3, 16, 20, dtype=dtype)
    for search in (None, "propagate"):
        assert net(clip, REF.to(dtype), search=search).dtype == dtype


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_shapes_without_values(name):
    net = NETS[name]().to("meta")
    lr, ref = torch.empty(2, 3, 12, 16, device="meta"), torch.empty(2, 3, 12 * net.scale, 16 * net.scale, device="meta")
    for refs in (None, ref, *([[ref, ref]] if name != "paper" else [])):
        sr = net(lr, refs)
        assert sr.is_meta and sr.shape == (2, 3, 12 * net.scale, 16 * net.scale)


def test_what_they_print(net):
    known = net.encode_reference(REF)
    assert repr(known).startswith("EncodedReference(1 with features 64 x 13 x 15, 32 x 26 x 30, 16 x 52 x 60, torch.float32, cpu)")
    assert repr(known.described) == "ReferenceDescriptors(1 x 13 x 15 cells, 4 x 4 shifts, 32 channels, torch.float32, cpu)"
    matches = net.match(LR, [known, known])
    assert repr(matches) == "Matches(1 x 16 x 12 in 13 x 15 cells of 4 pixels, several references, torch.float32, cpu)"
    assert repr(matches.crop(1, 2, 3, 4)).endswith("several references, a part of 16 x 12, torch.float32, cpu)")


def test_matches_move():
    matches = Matches.from_flow(torch.zeros(1, 2, 3, 4))
    there = matches.to("meta")
    assert there.position.is_meta and there.score.is_meta and there.cell == matches.cell
    assert matches.to(torch.float64).position.dtype == torch.float64


