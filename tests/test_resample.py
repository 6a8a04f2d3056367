"""Whatever the sizes and the picture: `bicubic_pil` gives PIL's bits."""
import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from c2m_blocks.resample import bicubic_pil

length, new_length = st.integers(1, 60), st.integers(1, 150)
old = int(PIL.__version__.split(".")[0]) < 13


@pytest.mark.skipif(old, reason="PIL before 13 shrinks tall pictures in another order of axes")
@settings(deadline=None, max_examples=150)
@given(length, length, new_length, new_length, st.integers(0, 999), st.sampled_from([2, 256]))
def test_equals_pil(h, w, new_h, new_w, seed, levels):
    # with two levels, black and white, the kernel overshoots everywhere, and clipping between the passes shows
    picture = np.random.default_rng(seed).integers(0, levels, (h, w, 3)) * 255 // (levels - 1)
    picture = picture.astype(np.uint8)
    pil = np.asarray(Image.fromarray(picture).resize((new_w, new_h), Image.Resampling.BICUBIC))
    ours = bicubic_pil(torch.from_numpy(picture).movedim(-1, 0) / 255, size=(new_h, new_w))
    assert ours.equal(torch.from_numpy(pil.copy()).movedim(-1, 0) / 255)
