"""The flow and the video network from photos and films to weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from c2m_blocks import SPyNet, TextureEncoder, bicubic_pil
from c2m_blocks.objectives import RestorerObjective
from c2m_blocks.pretrained import ASSETS
from c2m_blocks.run_cards import read_metrics
from c2m_blocks.training import train
from c2m_blocks.video import RefBasicVSR
from c2m_blocks.video_data import film_frames, find_films
from c2m_blocks.video_recipes import Flow, Video
from c2m_blocks.weights import load_flow

DEMO = ASSETS / "demo"
SMALL = dict(size=64, batch=1, workers=0, precision="float32")


class Still(nn.Module):
    "A video network that takes frame by frame."

    scale = 4

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, frames, ref=None):
        return torch.stack([self.net(bicubic_pil(frame, self.scale)) for frame in frames.unbind(1)], 1)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    "A folder with a film as frames, the window moving by two pixels each, and a photo."
    folder = tmp_path_factory.mktemp("films")
    image = Image.open(DEMO / "rock_leaves_input.png").convert("RGB")
    (folder / "pan").mkdir()
    for n in range(10):
        image.crop((2 * n, 0, 2 * n + 120, 90)).save(folder / "pan" / f"{n:03}.png")
    image.save(folder / "photo.png")
    return folder


def test_flow_from_photos_to_weights(tmp_path):
    "Its losses are those that they were, it is measured, and its weights can be used."
    recipe = Flow.preset("c2m-video-tiny", data=DEMO, validate=DEMO, validate_every=2, steps=2, **SMALL | dict(batch=2))
    trained = train(recipe, tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    assert [row["epe"] for row in rows[:1]] == pytest.approx([1.0837], rel=1e-4) and rows[1]["total"] == pytest.approx(7.47545, rel=1e-4)
    assert 0 < rows[-1]["epe"] < 20 and rows[-1]["epe_if_still"] > 0
    assert same(load_flow(tmp_path / "run" / "model"), trained)
    video = Video.preset("c2m-video-tiny", data=DEMO, flow=tmp_path / "run" / "model").build_net()
    assert same(video.flow, trained)
    with pytest.raises(ValueError, match="flow .* is of another architecture"):
        Video(data=DEMO, pretrained=False, flow=tmp_path / "run" / "model").build_net()


def test_video_from_films_to_weights_and_on(films, tmp_path):
    "Measured in the end; stopped and resumed it ends with the same bits as without a stop."
    numbers = dict(frames=2, flow_frozen=1, steps=3, save_every=2, validate=films.parent / "still", validate_every=3)
    (films.parent / "still").mkdir()
    Image.open(films / "photo.png").crop((0, 0, 72, 64)).save(films.parent / "still" / "photo.png")
    recipe = Video.preset("c2m-video-tiny", data=films, **numbers, **SMALL)
    trained = train(recipe, tmp_path)
    assert same(RefBasicVSR.from_pretrained(tmp_path / "model"), trained)
    assert all(10 < read_metrics(tmp_path)[-1][name] < 60 for name in ("psnr", "psnr_without_ref", "psnr_bicubic"))
    (tmp_path / "checkpoints" / "0000003.pt").unlink()
    assert same(train(recipe, tmp_path, resume=True), trained)


@pytest.mark.parametrize("options", [dict(align="flow"), dict(fusion="concat")])
def test_other_video_networks_are_trained_and_loaded(options, films, tmp_path):
    trained = train(Video.preset("c2m-video-tiny", data=films, frames=2, steps=1, **options, **SMALL), tmp_path)
    assert same(RefBasicVSR.from_pretrained(tmp_path / "model"), trained)


def test_the_losses_of_clips_are_what_they_were(tmp_path):
    train(Video.preset("c2m-video-tiny", data=DEMO, frames=3, flow_frozen=1, steps=2, **SMALL | dict(batch=2)), tmp_path)
    assert [row["charbonnier"] for row in read_metrics(tmp_path)] == pytest.approx([0.0670423, 0.0901475], rel=1e-4)


def test_networks_of_your_own(films, tmp_path):
    "A flow of fewer levels; a video network of other parts and for another factor; and one that knows of no flow."
    flow = train(Flow.preset("c2m-video-tiny", net=lambda: SPyNet(levels=2, width=4), data=DEMO, steps=1, **SMALL), tmp_path / "flow")
    assert same(load_flow(tmp_path / "flow" / "model"), flow)
    net = RefBasicVSR(encoder=TextureEncoder((8,)), flow=SPyNet(2, 4), channels=(8, 8), blocks=(1, 1, 1), scale=2)
    numbers = dict(data=films, frames=2, steps=1, flow_frozen=0)
    video = train(Video.preset("c2m-video-tiny", net=net, scale=2, **numbers, **SMALL), tmp_path / "video")
    assert same(RefBasicVSR.from_pretrained(tmp_path / "video" / "model"), video) and video.scale == 2
    train(Video.preset("c2m-video-tiny", net=Still, **numbers, **SMALL), tmp_path / "still")
    assert load_file(tmp_path / "still" / "model" / "model.safetensors").keys() == {"net.weight", "net.bias"}
    with pytest.raises(ValueError, match="net is a Still, but the stage flow trains another kind of network: give a SPyNet"):
        Flow(net=Still).build_net()


def test_the_papers_network_takes_a_step():
    recipe = Video(data=str(DEMO), pretrained=False, size=64, frames=2, batch=1)
    batch = torch.utils.data.default_collate([recipe.dataset()[0, 0]])
    objective = recipe.objective()
    losses, _ = objective(batch, step=5_000)
    losses["total"].backward()
    assert losses["total"].isfinite() and isinstance(objective, RestorerObjective)
    assert any(p.grad is not None for p in objective.trained.flow.parameters())


def test_a_video_file_is_read_from_any_frame_on(tmp_path):
    av = pytest.importorskip("av", reason="needs PyAV: pip install 'c2m_blocks[video]'")
    with av.open(str(tmp_path / "ramp.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 7
        for n in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * n, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    film, = find_films(tmp_path, frames=20)
    for first in (0, 1, 6, 7, 8, 22):
        found = [frame.mean() / 8 for frame in film_frames(film, first, 3)]
        assert np.allclose(found, [first, first + 1, first + 2], atol=0.5), (first, found)
    with pytest.raises(ValueError, match="has no 3 frames from number 29 on"):
        film_frames(film, 29, 3)
