"""The flow and the video network from photos and films to weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
    recipe = Flow.preset("c2m-video-tiny", data=str(DEMO), validate=str(DEMO), validate_every=2, steps=2, **SMALL)
    trained = train(recipe, tmp_path / "run")
    figures = read_metrics(tmp_path / "run")[-1]
    assert 0 < figures["epe"] < 20 and figures["epe_if_still"] > 0
    assert same(load_flow(tmp_path / "run" / "model"), trained)
    video = Video.preset("c2m-video-tiny", data=str(DEMO), flow=str(tmp_path / "run" / "model")).build_net()
    assert same(video.flow, trained)
    with pytest.raises(ValueError, match="flow .* is of another architecture"):
        Video(data=str(DEMO), pretrained=False, flow=str(tmp_path / "run" / "model")).build_net()


@pytest.mark.parametrize("options", [{}, dict(align="flow"), dict(fusion="concat")])
def test_video_from_films_to_weights_and_on(films, tmp_path, options):
    "Stopped and resumed it ends with the same bits as without a stop."
    options = dict(frames=3, flow_frozen=1, save_every=2, cosine=False) | SMALL | options
    recipe = Video.preset("c2m-video-tiny", data=str(films), **options)
    options = dict(steps=1) if "align" in options or "fusion" in options else {}
    recipe = replace(recipe, **options or dict(steps=4, validate=str(films), validate_every=4))
    trained = train(recipe, tmp_path / "whole")
    assert same(RefBasicVSR.from_pretrained(tmp_path / "whole" / "model"), trained)
    if not options:
        figures = read_metrics(tmp_path / "whole")[-1]
        assert all(10 < figures[name] < 60 for name in ("psnr", "psnr_without_ref", "psnr_bicubic"))
        (tmp_path / "whole" / "checkpoints" / "0000004.pt").unlink()
        assert same(train(recipe, tmp_path / "whole", resume=True), trained)


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
