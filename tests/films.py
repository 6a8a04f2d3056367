"""Clips of flat colours, made on the spot, for notebooks and tests."""
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from c2m_blocks.yuv import Colour

BT709 = Colour()


def film(
    path: Path, levels: list, stamps: list[int], kind: str = "yuv420p", colour: Colour = BT709, size=(31, 21), codec: str = "ffv1"
) -> None:
    "A clip of flat YUV colours, without loss."
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, kind
        stream.codec_context.colorspace, stream.codec_context.color_range = colour.matrix, 1 + colour.full
        stream.codec_context.time_base = Fraction(1, 1000)
        for level, stamp in zip(levels, stamps):
            frame = av.VideoFrame(*size, kind)
            for plane, value in zip(frame.planes, level):
                sample = np.uint16 if "10" in kind else np.uint8
                plane.update(np.full(plane.buffer_size // np.dtype(sample).itemsize, value, sample).tobytes())
            frame.pts, frame.time_base, frame.colorspace, frame.color_range = stamp, Fraction(1, 1000), colour.matrix, 1 + colour.full
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
