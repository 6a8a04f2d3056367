"""What others build on: torch.compile, ONNX, the Hub, model cards, types, and how to cite."""
import json
import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, hub_mixin
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image

from c2m_blocks import (
    BasicVSR,
    ContrastiveMatcher,
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
    VGGFeatures,
    adversarial_loss,
    aee,
    bicubic,
    bicubic_pil,
    charbonnier,
    flow_warp,
    load_network,
    match_patches,
    pretrained,
    psnr,
    rgb_to_y,
    ssim,
)
from c2m_blocks.export import export_encoder, export_matcher, export_restorer, write_onnx
from c2m_blocks.pretrained import ASSETS
from c2m_blocks.recipes import Student
from c2m_blocks.run_cards import read_metrics
from c2m_blocks.training import train
from c2m_blocks.video import BranchFusion, warp_matches
from c2m_blocks.video_recipes import Flow
from c2m_blocks.weights import load_flow, load_matcher, save_flow, save_matcher

ROOT = Path(__file__).parents[1]
DEMO = ASSETS / "demo"


def tensors(value) -> list[torch.Tensor]:
    "All tensors in a result, whatever it is made of."
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Matches):
        return tensors([value.position, value.score, value.ref_index])
    return [x for part in value for x in tensors(part)] if isinstance(value, (list, tuple)) else []


HR, REF, LR = torch.rand(1, 3, 48, 64), torch.rand(1, 3, 64, 48), torch.rand(1, 3, 12, 16)
MAPS = torch.rand(1, 8, 20, 24), torch.rand(1, 8, 18, 16)
FLOW = 3 * torch.randn(1, 2, 20, 24)
MATCHES = Matches.from_flow(FLOW[..., :10, :12], ref_size=(9, 8))


def small_video() -> RefBasicVSR:
    parts = dict(matcher=ContrastiveMatcher(DescriptorEncoder(8, 8)), encoder=TextureEncoder((8,)), flow=SPyNet(3, 4))
    return RefBasicVSR(**parts, aggregator=DynamicAggregation(8, 8), channels=(8, 8, 8), blocks=(1, 1, 0))


def few_matches() -> Matches:
    return Matches(MATCHES.position, MATCHES.score, (9, 8), torch.randint(2, (1, 10, 12)))


BLOCKS = {
    "DescriptorEncoder": (DescriptorEncoder, HR),
    "TextureEncoder": (TextureEncoder, HR),
    "VGGFeatures": (lambda: VGGFeatures("vgg16", ("relu2_1", "conv1_1"), pretrained=False), HR),
    "match_patches": (lambda: match_patches, *MAPS),
    "match_patches, coarse": (lambda: lambda a, b: match_patches(a, [b, b], search="coarse"), *MAPS),
    "ContrastiveMatcher": (ContrastiveMatcher, LR, REF),
    "ContrastiveMatcher, refined": (lambda: ContrastiveMatcher(shifts_per_cell=2, refine_radius=1, pad=True), LR, [REF, HR]),
    "FlowMatcher": (lambda: FlowMatcher(SPyNet(3, 4)), LR, REF),
    "DynamicAggregation": (lambda: DynamicAggregation(8, 8), MAPS[1], MAPS[0], MATCHES),
    "DynamicAggregation, one tap": (lambda: DynamicAggregation(8, 8, kernel_size=1), MAPS[1], MAPS[0], MATCHES),
    "DynamicAggregation, two references": (lambda: DynamicAggregation(8, 8), [MAPS[1], MAPS[0]], MAPS[0], few_matches()),
    "DynamicAggregation, raw": (lambda: DynamicAggregation(8, 8, guide="raw"), MAPS[0], MAPS[0], MATCHES),
    "PatchSwap": (PatchSwap, MAPS[1], MAPS[0], MATCHES),
    "RefSRNet": (lambda: RefSRNet.from_pretrained("c2m-tiny"), LR, REF),
    "RefSRNet, alone": (lambda: RefSRNet.from_pretrained("c2m-tiny"), LR),
    "SPyNet": (lambda: SPyNet(3, 4), HR, HR.flip(2)),
    "flow_warp": (lambda: flow_warp, MAPS[0], FLOW),
    "BranchFusion": (lambda: BranchFusion(8, 2), MAPS[0], [MAPS[0], None]),
    "carried": (lambda: warp_matches, few_matches(), FLOW[..., :10, :12]),
    "BasicVSR": (lambda: BasicVSR(SPyNet(3, 4), channels=(8, 8, 8), blocks=(1, 1, 0)), LR[None].repeat(1, 2, 1, 1, 1)),
    "RefBasicVSR": (lambda: small_video(), LR[None].repeat(1, 2, 1, 1, 1), REF),
    "charbonnier": (lambda: charbonnier, HR, HR.flip(2)),
    "PerceptualLoss": (lambda: PerceptualLoss(VGGFeatures("vgg16", ("relu2_1",), pretrained=False)), HR, HR.flip(2)),
    "Discriminator": (lambda: Discriminator(4), HR),
    "adversarial_loss": (lambda: adversarial_loss, torch.rand(3)),
    "bicubic": (lambda: lambda x: bicubic(x, 0.25), HR),
    "bicubic_pil": (lambda: lambda x: bicubic_pil(x, 0.25), HR),
    "rgb_to_y": (lambda: rgb_to_y, HR),
    "psnr": (lambda: psnr, HR, HR.flip(2)),
    "ssim": (lambda: ssim, HR, HR.flip(2)),
    "aee": (lambda: aee, FLOW, 0 * FLOW),
}


@torch.no_grad()
@pytest.mark.parametrize("name", BLOCKS)
def test_compiles_without_graph_breaks(name):
    made, *given = BLOCKS[name]
    block = made()
    block = block.eval() if isinstance(block, torch.nn.Module) else block
    torch.compiler.reset()
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    expected, got = tensors(block(*given)), tensors(compiled(*given))
    assert len(expected) == len(got) > 0
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, got))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_gradients_of_a_compiled_aggregation(kernel_size):
    block = DynamicAggregation(8, 8, kernel_size=kernel_size)
    torch.compiler.reset()
    compiled, slopes = torch.compile(block, backend="aot_eager", fullgraph=True), []
    for call in (block, compiled):
        features = MAPS[1].clone().requires_grad_()
        (call(features, MAPS[0], MATCHES) ** 2).sum().backward()
        slopes.append([features.grad, *(p.grad for p in block.parameters())])
        block.zero_grad()
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*slopes))


def small_net(kernel_sizes: tuple[int | None, ...] = (3, 1, 1), **options) -> RefSRNet:
    torch.manual_seed(0)
    aggregators = [k and DynamicAggregation(8, 8, groups=2, kernel_size=k, **options) for k in kernel_sizes]
    matcher = ContrastiveMatcher(DescriptorEncoder(8, 8), shifts_per_cell=1, refine_radius=0, pad=True)
    return RefSRNet(matcher, TextureEncoder((8, 8, 8)), aggregators, (8, 8, 8), (1, 1, 1, 1)).eval()


@torch.no_grad()
def test_onnx_of_any_size(tmp_path):
    "All three graphs in onnxruntime, fed with each other's results."
    onnxruntime = pytest.importorskip("onnxruntime", reason="the graphs run in onnxruntime")
    pytest.importorskip("onnxscript", reason="the graphs are written by onnxscript")
    net, run = small_net((3, 1, None)), {}  # nine taps and one: what is translated a second time proves nothing more, and takes its time
    for name, make in dict(encoder=export_encoder, matcher=export_matcher, restorer=export_restorer).items():
        write_onnx(make(net), tmp_path / f"{name}.onnx")
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        outputs = [output.name for output in session.get_outputs()]
        run[name] = lambda s=session, names=outputs, **given: dict(zip(names, s.run(None, given)))
    for lr, ref in ((LR, REF), (torch.rand(1, 3, 30, 9), torch.rand(1, 3, 40, 116))):
        known = run["encoder"](ref=ref.numpy())
        found = run["matcher"](lr=lr.numpy(), descriptors=known.pop("descriptors"))
        sr = run["restorer"](lr=lr.numpy(), **found, **known)["sr"]
        assert torch.equal(torch.from_numpy(found["position"]), net.match(lr, [ref]).position)
        assert (torch.from_numpy(sr) - net(lr, ref)).abs().max() < 1e-4


@torch.no_grad()
def test_the_papers_aggregation_is_exported():
    net, lr, ref = small_net(guide="raw"), torch.rand(1, 3, 10, 14), torch.rand(1, 3, 40, 56)
    known, matches = net.encode_reference(ref), net.match(torch.rand(1, 3, 10, 14), [ref])
    maps = dict(zip(("coarse", "middle", "fine"), known.features))
    sr = export_restorer(net).module()(lr=lr, position=matches.position, score=matches.score, **maps)["sr"]
    assert torch.allclose(sr, net(lr, ref, matches=matches), atol=1e-5)


def test_missing_onnx_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("c2m_blocks.export.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'c2m_blocks\[onnx\]'"):
        write_onnx(None, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    "A Hub that is a folder; all else that a push and a pull do is real."
    place = tmp_path / "hub"

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            (place / repo_id).mkdir(parents=True, exist_ok=True)
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, repo_id, folder_path, **_):
            return str(shutil.copytree(folder_path, place / repo_id, dirs_exist_ok=True))

    def download(repo_id, filename, **_):
        if not (place / repo_id / filename).exists():
            raise LocalEntryNotFoundError(f"{repo_id} has no {filename}")
        return str(place / repo_id / filename)

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    for module in (hub_mixin, pretrained):
        monkeypatch.setattr(module, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    return place


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind, name", [(RefSRNet, "c2m-tiny"), (RefBasicVSR, "c2m-video-tiny")])
def test_pushed_and_pulled(kind, name, hub):
    net = kind.from_pretrained(name)
    net.push_to_hub("someone/net", model_card_kwargs=dict(training="Trained on holidays."))
    assert sorted(file.name for file in (hub / "someone/net").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for pulled in (kind.from_pretrained("someone/net", revision="main"), load_network("someone/net")):
        assert type(pulled) is kind and not pulled.training and same_weights(pulled, net)
    assert same_weights(load_matcher("someone/net"), net.matcher)
    card = ModelCard.load(hub / "someone/net/README.md")
    assert card.data.library_name == "c2m_blocks" and f"{kind.__name__}.from_pretrained" in card.text
    assert card.text.strip().endswith("Trained on holidays.")
    with pytest.raises(ValueError, match="The network 'someone/nothing' could not be had"):
        kind.from_pretrained("someone/nothing")


def test_matchers_and_flows_pulled(hub):
    for save, load, part in (
        (save_matcher, load_matcher, load_matcher("c2m-tiny")), (save_flow, load_flow, load_flow("c2m-video-tiny")),
    ):
        save(part, hub / "someone/part")
        assert same_weights(load("someone/part"), part) and not load("someone/part").training
        assert f"net = {load.__name__}(" in ModelCard.load(hub / "someone/part/README.md").text
        shutil.rmtree(hub)
        with pytest.raises(ValueError, match="The network 'someone/part' could not be had"):
            load("someone/part")


def test_a_card_is_not_overwritten(tmp_path):
    (tmp_path / "README.md").write_text("Mine.")
    save_matcher(load_matcher("c2m-tiny"), tmp_path)
    load_network("c2m-tiny").save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "Mine."


@pytest.mark.parametrize("stage", [Student, Flow])
def test_a_run_writes_cards(stage, tmp_path):
    "The front matter can be read, and the figures are those of the run, of the best network its own."
    for name in ("input", "ref"):
        picture = Image.open(DEMO / f"rock_leaves_{name}.png").resize((240, 180))
        (tmp_path / "pairs").mkdir(exist_ok=True)
        picture.save(tmp_path / "pairs" / f"rock_{name}.png")
    pairs, folder = str(tmp_path / "pairs"), tmp_path / "run"
    train(stage.preset(stage.tiny, data=pairs, validate=pairs, validate_every=1, steps=2, size=64, batch=1, workers=0), folder)
    rows = read_metrics(folder)
    key, most = ("aee", min) if stage is Student else ("epe", min)
    best = most(rows, key=lambda row: row[key])
    for name, row in dict(model=rows[-1], best=best).items():
        card = ModelCard.load(folder / name / "README.md")
        assert card.data.library_name == "c2m_blocks" and "super-resolution" in card.data.tags
        assert f"After step {row['step']}, on `pairs`" in card.text and f"{row[key]:.4g} |" in card.text
        assert f"{row['step']} of 2 steps of 1, out of 2" in card.text and 'data = "pairs"' in card.text
        assert str(tmp_path) not in card.content
    about = json.loads((folder / "run.json").read_text())
    assert f"c2m_blocks {about['packages']['c2m_blocks']}, torch {about['packages']['torch']}" in card.text


def test_types_hold(tmp_path):
    pytest.importorskip("mypy", reason="the types are checked by mypy")
    options = ["--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "cache"]
    command = [sys.executable, "-m", "mypy", *map(str, options), str(ROOT / "tests/typed_use.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_typed_use_runs():
    subprocess.run([sys.executable, str(ROOT / "tests/typed_use.py")], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_citation_is_in_step():
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for key, name in dict(title="name", version="version", abstract="description", license="license").items():
        assert citation[key].rstrip(".") == ini["DEFAULT"][name]
    title = citation["preferred-citation"]["title"]
    assert title in (ROOT / "README.md").read_text(encoding="utf-8") and len(citation["references"]) == 2
