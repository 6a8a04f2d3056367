"""The search finds the best patch, whatever the sizes, the patch and the tiles."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from c2m_blocks import match_patches


def all_scores(query, ref, k):
    "Cosine of every query patch with every reference patch, in float64 and with the whole matrix in memory."
    patches = [F.unfold(F.normalize(x.double(), eps=1e-12), k) for x in (query, ref)]
    norms = [p.norm(dim=1, keepdim=True) + 1e-5 for p in patches]
    return ((patches[0] / norms[0]).transpose(1, 2) @ (patches[1] / norms[1]))[0]


@settings(max_examples=60, deadline=None)
@given(
    k=st.sampled_from([1, 3, 5]),
    more=st.tuples(*[st.integers(0, 12)] * 4),
    tile=st.integers(1, 50_000),
    levels=st.sampled_from([2, 1000]),
    seed=st.integers(0, 2**16),
)
def test_finds_the_best_patch(k, more, tile, levels, seed):
    generator = torch.Generator().manual_seed(seed)
    h, w, H, W = (k + n for n in more)
    query, ref = (torch.randint(0, levels, (1, 4, *size), generator=generator).float() for size in ((h, w), (H, W)))
    matches = match_patches(query, ref, k, tile)
    r = k // 2
    inner = (..., slice(r, h - r), slice(r, w - r))
    x, y = (matches.position[inner].long() - r).flatten(2)[0]
    scores = all_scores(query, ref, k)
    found = scores[torch.arange(len(scores)), y * (W - k + 1) + x]
    assert (found - scores.amax(1)).abs().max() < 1e-5
    assert (found - matches.score[inner].flatten()).abs().max() < 1e-5
    assert matches.ref_size == (H, W) and matches.position.shape[-2:] == (h, w)
