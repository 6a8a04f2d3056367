"""The search finds the best patch, whatever the sizes, the patch, the tiles, the number of references and what is forbidden."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from c2m_blocks import exact, match_patches
from c2m_blocks.exact import exact_search


def all_scores(query, ref, k):
    "Cosine of every query patch with every reference patch, in float64 and with the whole matrix in memory."
    patches = [F.unfold(F.normalize(x.double(), eps=1e-12), k) for x in (query, ref)]
    norms = [p.norm(dim=1, keepdim=True) + 1e-5 for p in patches]
    return ((patches[0] / norms[0]).transpose(1, 2) @ (patches[1] / norms[1]))[0]


@settings(max_examples=60, deadline=None)
@given(
    k=st.sampled_from([1, 3, 5]),
    more=st.tuples(*[st.integers(0, 12)] * 6),
    side=st.integers(1, 9),
    stride=st.integers(1, 3),
    levels=st.sampled_from([2, 1000]),
    seed=st.integers(0, 2**16),
)
def test_finds_the_best_patch(k, more, side, stride, levels, seed):
    generator = torch.Generator().manual_seed(seed)
    (h, w), *sizes = zip(*[iter([k + n for n in more])] * 2)
    query, *refs = (torch.randint(0, levels, (1, 4, *size), generator=generator).float() for size in ((h, w), *sizes))
    forbidden = [torch.rand(1, *size, generator=generator) < 0.2 for size in sizes]
    forbidden[0][..., k // 2, k // 2] = False  # a place must be left
    matches = exact_search(query, refs, k, stride, forbidden, side=side)
    r = k // 2
    inner = (..., slice(r, h - r), slice(r, w - r))
    x, y = (matches.position[inner].long() - r).flatten(2)[0]
    index = matches.ref_index[inner].flatten()
    best, found = [], torch.full(index.shape, -torch.inf, dtype=torch.float64)
    for i, ((H, W), mask) in enumerate(zip(sizes, forbidden)):
        scores = all_scores(query, refs[i], k).view(-1, H - k + 1, W - k + 1)
        scores = scores.masked_fill(mask[:, r : H - r, r : W - r], -torch.inf)
        here = index == i
        assert ((y[here] % stride == 0) & (x[here] % stride == 0)).all()
        found[here] = scores[here, y[here], x[here]]
        best.append(scores[:, ::stride, ::stride].flatten(1).amax(1))
    assert (found - torch.stack(best).amax(0)).abs().max() < 1e-5
    assert (found - matches.score[inner].flatten()).abs().max() < 1e-5
    assert matches.ref_size == tuple(map(max, zip(*sizes))) and matches.position.shape[-2:] == (h, w)


@settings(max_examples=20, deadline=None)
@given(sizes=st.tuples(*[st.integers(3, 90)] * 4), search=st.sampled_from(["coarse", "propagate"]), seed=st.integers(0, 2**16))
def test_approximate_scores_are_true_and_never_better_than_exact(sizes, search, seed):
    generator = torch.Generator().manual_seed(seed)
    h, w, H, W = sizes
    query, ref = (torch.randn(1, 5, *size, generator=generator) for size in ((h, w), (H, W)))
    best = match_patches(query, ref)
    start = best if search == "propagate" else None
    matches = match_patches(query, ref, search=search, start=start)
    inner = (..., slice(1, h - 1), slice(1, w - 1))
    assert (matches.score[inner] <= best.score[inner] + 1e-5).all()
    x, y = (matches.position[inner].long() - 1).flatten(2)[0]
    found = all_scores(query, ref, 3)[torch.arange(len(x)), y * (W - 2) + x]
    assert (found - matches.score[inner].flatten()).abs().max() < 1e-5


def test_another_reference_never_lowers_a_score():
    query, refs = torch.randn(1, 8, 12, 9), [torch.randn(1, 8, *size) for size in ((10, 14), (5, 30), (20, 4))]
    scores = [match_patches(query, refs[:n]).score for n in (1, 2, 3)]
    assert (scores[1] >= scores[0]).all() and (scores[2] >= scores[1]).all()


def test_memory_does_not_grow_with_the_maps(monkeypatch):
    sizes, empty = [], torch.empty

    def counted(*args, **options):
        result = empty(*args, **options)
        sizes.append(result.numel())
        return result

    query, ref = torch.randn(1, 2, 90, 170), torch.randn(1, 2, 260, 250)
    monkeypatch.setattr(torch, "empty", counted)
    match_patches(query, ref)
    assert max(sizes) <= (exact._ROWS + 2) * (exact._SIDE["cpu"] + 2) ** 3
