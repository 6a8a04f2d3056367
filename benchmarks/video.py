"""Alignment by matches against alignment by flow: what each costs a frame, and where the time of a frame goes.

    python benchmarks/video.py                        # c2m-video-tiny, LR 320 x 180, some minutes
    python benchmarks/video.py --network paper        # the paper's network, random weights, half an hour
    python benchmarks/video.py --long 1000            # instead, the memory that a film of 1000 frames takes, an hour

The clip is a window that wanders over the bundled picture, the reference its first frame. A frame's time is what a longer clip takes
more than a shorter one, so that what is done once for a clip does not count.
"""

from argparse import ArgumentParser
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from copy import copy
from time import perf_counter
from unittest.mock import patch

import numpy as np
import torch
from common import extra_memory, machine, resident, results, seconds, table

from c2m_blocks.core import read_image
from c2m_blocks.data import cut_view
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.video import _RENEWED, WINDOW, RefBasicVSR
from c2m_blocks.video_data import wander
from c2m_blocks.pretrained import ASSETS

SHORT, LONG = 1, 4  # frames


def moving_clip(count: int, h: int, w: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    "LR frames (1, 3, h, w) and a reference (1, 3, 4h, 4w), the frame before them."
    picture = (read_image(ASSETS / "demo" / "rock_leaves_input.png")[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    size, rng = 4 * max(h, w), np.random.default_rng(3)
    middle = np.array(picture.shape[1::-1]) / 2
    shrink = min(picture.shape[:2]) / size
    pictures = [torch.from_numpy(cut_view(picture, view, shrink, middle, size)).permute(2, 0, 1) for view in wander(rng, size, count + 1)]
    frames = [picture[None, :, : 4 * h, : 4 * w] for picture in pictures]
    return [bicubic_pil(frame, 0.25) for frame in frames[1:]], frames[0].contiguous()


@contextmanager
def clock(net: RefBasicVSR):
    "Seconds by part of the network, filled in while it runs."
    spent = defaultdict(float)
    parts = {
        "flow": (net, "_flows"), "features": (net.content, "forward"), "forward branch": (net.forward_branch, "forward"),
        "backward branch": (net.backward_branch, "forward"), "matching": (net, "_match"), "aggregation": (net.aggregator, "forward"),
        "enlarging": (net.enlarge, "forward"), "fusion": (net.fusion, "forward"), "last convolutions": (net.tail, "forward"),
    }

    def timed(name, f):
        def run(*args, **options):
            start = perf_counter()
            try:
                return f(*args, **options)
            finally:
                spent[name] += perf_counter() - start

        return run

    patches = [patch.object(owner, name, timed(part, getattr(owner, name))) for part, (owner, name) in parts.items()]
    for each in patches:
        each.start()
    yield spent
    for each in patches:
        each.stop()


def with_compiled_parts(net: RefBasicVSR) -> RefBasicVSR:
    "The same network, sharing its weights, with each part compiled."
    net = copy(net)
    net._modules = dict(net._modules)
    for name in ("content", "forward_branch", "backward_branch", "aggregator", "enlarge", "fusion", "tail", "flow"):
        part = copy(net.get_submodule(name))
        part.compile(dynamic=False)
        setattr(net, name, part)
    return net


def measure_long(net: RefBasicVSR, args, frames: list[torch.Tensor], ref: torch.Tensor) -> None:
    "Memory of a film that is streamed, as it grows: it stands still once the second window is there."
    known, start = [], resident()

    def play():
        films = (frames[i % len(frames)] for i in range(args.long))
        for i, _ in enumerate(net.stream(films, ref, search="propagate", first_search="coarse"), 1):
            if not i % WINDOW or i == args.long:
                known.append([i, f"{(resident() - start):.0f}"])

    took = seconds(lambda: known.append(["highest", f"{extra_memory(play):.0f}"]))
    text = f"{machine()}; `{args.network}`, LR {args.size[1]} x {args.size[0]}, {took / args.long:.1f} s a frame with what else ran\n\n"
    text += table("frames done | MB more than at the start", known)
    results(f"video_long_{args.network}.md").write_text(text + "\n")
    print(text)


def main():
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="c2m-video-tiny", choices=("paper", "c2m-video-tiny"))
    parser.add_argument("--long", type=int, default=0, metavar="N", help="frames of a film whose memory is measured")
    parser.add_argument("--size", type=int, nargs=2, default=(180, 320), metavar=("H", "W"), help="of the LR frames")
    parser.add_argument("--rounds", type=int, default=2, help="in which all ways take turns; the fastest counts (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", help="only these")
    args = parser.parse_args()
    torch.manual_seed(0)
    load = lambda **options: RefBasicVSR.preset(args.network, **options).eval().to(memory_format=torch.channels_last)
    if args.network == "paper":
        net, by_flow = load(), load(align="flow")
    else:
        net = RefBasicVSR.from_pretrained(args.network).to(memory_format=torch.channels_last)
        by_flow = load(align="flow")
        by_flow.load_state_dict({name: weight for name, weight in net.state_dict().items() if not name.startswith("matcher.")})
    compiled = with_compiled_parts(net)
    frames, ref = moving_clip(LONG, *args.size)
    if args.long:
        return measure_long(net, args, frames, ref)

    def run(count: int, network=net, search: str | None = None, how: str = "exact", precision: str = "float32", half=False, compile=False):
        net.matcher.precision, net.matcher.compile_search = precision, compile
        searches = dict(search=search or how) | (dict(first_search=how) if search else {})
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return torch.cat([*network.stream(frames[:count], ref, **(searches if network is not by_flow else {}))]).float()

    propagate = dict(search="propagate", how="coarse")
    ways = {
        "flow": dict(network=by_flow), "propagate": propagate, "coarse": dict(how="coarse"), "exact": dict(),
        "exact, compiled search": dict(compile=True), "exact, its products in bfloat16": dict(precision="bfloat16"),
        "flow, network in bfloat16": dict(network=by_flow, half=True), "propagate, network in bfloat16": propagate | dict(half=True),
        "propagate, compiled network": propagate | dict(network=compiled),
    }
    ways = {name: options for name, options in ways.items() if not args.ways or name in args.ways}
    found, parts, times = {}, {}, defaultdict(list)
    for name, options in ways.items():  # what is compiled is compiled now
        found[name] = run(LONG, **options)
    for _ in range(args.rounds):
        for name, options in ways.items():
            short = seconds(lambda options=options: run(SHORT, **options))
            with nullcontext({}) if options.get("network") is compiled else clock(options.get("network", net)) as spent:
                long = seconds(lambda options=options: run(LONG, **options))
            times[name].append((long - short) / (LONG - SHORT))
            if spent:
                parts[name] = {part: value / long for part, value in spent.items()}
    rows = [[name, min(each)] for name, each in times.items()]
    standard = next((name for name in ("exact", "exact, compiled search") if name in found), next(iter(found)))
    best = found[standard]
    peak = lambda x: "" if x is best else f"{-10 * (x.clamp(0, 1) - best.clamp(0, 1)).square().mean().log10().item():.1f}"
    rows = [[name, f"{s:.2f}", f"{1 / s:.2f}", f"{s / rows[0][1]:.2f}", peak(found[name])] for name, s in rows]
    text = f"{machine()}; `{args.network}`, LR {args.size[1]} x {args.size[0]}\n\n"
    text += table(f"alignment | s a frame | frames a second | times {rows[0][0]} | PSNR against {standard}, dB", rows)
    known = dict.fromkeys(part for spent in parts.values() for part in spent)
    shares = [[part, *(f"{spent.get(part, 0):.0%}" for spent in parts.values())] for part in known]
    text += "\n\nWhere the time goes:\n\n" + table("part | " + " | ".join(parts), shares)
    if {"propagate", "coarse"} <= times.keys():
        carried, searched = min(times["propagate"]), min(times["coarse"])
        mean = carried + (searched - carried) / _RENEWED
        text += f"\n\nWith every {_RENEWED}th frame searched anew, `propagate` takes {mean:.2f} s a frame."
    results(f"video_{args.network}.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
