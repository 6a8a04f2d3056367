"""How good clips get: with their first frame as the reference, without one, frame by frame, and with references of three degrees.

    python benchmarks/video_quality.py CLIPS                # video files; the first 9 frames of each, some minutes
    python benchmarks/video_quality.py CLIPS --frames 0     # all frames

The LR frames are made by PIL's bicubic on 8 bits; the first frame is never measured. References of three degrees, as in Table 5 of the
paper: the second half of a clip is upscaled with the frame before it, with the clip's first frame, with a frame of another clip, and
with none.
"""

import json
from argparse import ArgumentParser
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from common import machine, results, table

from c2m_blocks.clip_reading import Clip
from c2m_blocks.inference import restore
from c2m_blocks.protocols import EvalProtocol
from c2m_blocks.video_data import find_films
from c2m_blocks.video_evaluation import measure_clip
from c2m_blocks.weights import load_network

PROTOCOL = EvalProtocol(bicubic="pil", border=0)


def read_frames(clip: Clip, count: int) -> list[torch.Tensor]:
    "The first frames (1, 3, h, w) of a clip; of 0 all."
    return [(frame * 255).round() / 255 for frame in islice(clip, count or None)]


def remembered(flow: torch.nn.Module):
    "A flow that is worked out once for each pair of frames: all ways are judged by that of the truth."
    known = {}

    def find(frame: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        key = frame.data_ptr(), other.data_ptr()
        if key not in known:
            known[key] = flow(frame, other)
        return known[key]

    return find


class Streamed:
    "A network that is given a clip as a whole, and how to search."

    def __init__(self, net: torch.nn.Module, search: str):
        self.net, self.search = net, search

    def stream(self, frames, refs):
        return restore(frames, self.net, refs, search=self.search)


def main():
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, help="folder of video files")
    parser.add_argument("--frames", type=int, default=9, help="of each clip, 0: all (default: %(default)s)")
    parser.add_argument("--video", default="c2m-video-tiny", help="network for clips (default: %(default)s)")
    parser.add_argument("--picture", default="c2m-tiny", help="network for pictures (default: %(default)s)")
    parser.add_argument("--search", help="of the network for clips: propagate")
    args = parser.parse_args()
    films = {clip.path.stem: read_frames(clip, args.frames) for clip in find_films(args.clips, 2)}
    video, coarse = load_network(args.video), "coarse"  # which loses nothing to speak of
    names, flow = list(films), remembered(video.flow)
    with_ref, picture = Streamed(video, args.search or coarse), Streamed(load_network(args.picture), coarse)
    figures = {}
    for i, (name, frames) in enumerate(films.items()):
        later, first = range(1, len(frames)), frames[:1]
        own = {
            "bicubic": measure_clip("bicubic", frames, [], PROTOCOL, flow, later),
            f"{args.picture}, first frame": measure_clip(picture, frames, first, PROTOCOL, flow, later),
            f"{args.video}, none": measure_clip(with_ref, frames, [], PROTOCOL, flow, later),
            f"{args.video}, first frame": measure_clip(with_ref, frames, first, PROTOCOL, flow, later),
        }
        half = len(frames) // 2
        degrees = {"none": [], "irrelevant": films[names[i - 1]][:1], "similar": first, "very similar": frames[half - 1 : half]}
        degrees = {degree: measure_clip(with_ref, frames[half:], refs, PROTOCOL) for degree, refs in degrees.items()}
        figures[name] = dict(frames=len(frames), own=own, degrees=degrees)
        print(name, {way: round(row["psnr"], 2) for way, row in (own | degrees).items()}, flush=True)
    for part in ("own", "degrees"):
        for clip in figures.values():
            for row in clip[part].values():
                del row["by_frame"]
    results("video_quality.json").write_text(json.dumps(figures, indent=1) + "\n")
    mean = lambda part, way, figure: float(np.mean([clip[part][way][figure] for clip in figures.values()]))
    ways, degrees = (list(next(iter(figures.values()))[part]) for part in ("own", "degrees"))
    clips = ", ".join(f"{name} ({clip['frames']} frames)" for name, clip in figures.items())
    text = f"{machine()}. {clips}; {PROTOCOL}; the first frame is left out; means of the clips' means.\n\n"
    truth = mean("own", "bicubic", "warping_truth")
    text += table(
        f"way | {' | '.join(names)} | mean PSNR-Y | SSIM-Y | warping error, times the truth's",
        [[way, *(f"{figures[name]['own'][way]['psnr']:.2f}" for name in names), f"{mean('own', way, 'psnr'):.2f}",
          f"{mean('own', way, 'ssim'):.4f}", f"{mean('own', way, 'warping') / truth:.2f}"] for way in ways],
    )
    text += "\n\nThe second half of each clip, with references of three degrees (Table 5 of the paper), PSNR-Y:\n\n"
    text += table(
        f"clip | {' | '.join(degrees)}",
        [[name, *(f"{figures[name]['degrees'][degree]['psnr']:.2f}" for degree in degrees)] for name in names]
        + [["mean", *(f"{mean('degrees', degree, 'psnr'):.2f}" for degree in degrees)]],
    )
    results("video_quality.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
