"""Photos as they come: turned, grey, long, tiny, broken, and none that shows the place."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from c2m_blocks.choosing import Candidate, _judge, choose_pairs, photo_vector, rank_references, write_candidates, write_set
from c2m_blocks.contrastive import ContrastiveMatcher
from c2m_blocks.core import read_image
from c2m_blocks.data import listed_pairs
from c2m_blocks.degradation import Bicubic
from c2m_blocks.pretrained import ASSETS
from c2m_blocks.resample import bicubic_pil
from c2m_blocks.weights import load_matcher

INPUT, REF = ASSETS / "demo" / "rock_leaves_input.png", ASSETS / "demo" / "rock_leaves_ref.png"
OTHERS = sorted((Path(__file__).parent / "data" / "photos").glob("budgie_*.jpg"))


def to_image(x):
    return Image.fromarray((x[0] * 255).round().byte().permute(1, 2, 0).numpy())


@pytest.fixture(scope="module")
def matcher():
    return load_matcher("c2m-tiny")


@pytest.fixture(scope="module")
def lr():
    return bicubic_pil(read_image(INPUT), 0.25)


def test_a_large_photo_that_its_camera_turned(lr, matcher, tmp_path):
    "Three times as large, stored on its side with a note which way is up."
    turned, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    with Image.open(REF) as image:
        image.resize((1440, 1080)).rotate(90, expand=True).save(turned, exif=exif)
    best, *rest = rank_references(lr, [*OTHERS, turned], matcher)
    assert best.path == turned and best.useful and 2.7 < best.zoom < 3.3
    assert not any(c.useful for c in rest)


@pytest.mark.parametrize("shape, mode", [((640, 50), "RGB"), ((60, 900), "L"), ((64, 64), "P"), ((64, 64), "CMYK"), ((80, 64), "RGBA")])
def test_photos_of_any_shape_and_mode(lr, matcher, tmp_path, shape, mode):
    photo = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    Image.effect_noise(shape, 60).convert("RGB").convert(mode).save(photo)
    (only,) = rank_references(lr, [photo], matcher)
    assert only.path == photo and not only.useful


def test_a_tiny_lr_picture_is_ranked(lr, matcher):
    assert len(rank_references(lr[..., :5, :7], OTHERS[:3], matcher, top=2)) == 2


def test_that_none_is_of_use_is_said(lr, matcher, caplog):
    assert not any(c.useful for c in rank_references(lr, OTHERS, matcher))
    assert f"None of {len(OTHERS)} photos is of use as a reference" in caplog.text


def test_a_vector_forgives_light():
    "A photo of half the brightness is nearer to itself than to any other."
    with Image.open(INPUT) as image:
        picture = image.convert("RGB")
    darker = photo_vector(picture.point(lambda v: v // 2))
    others = [photo_vector(Image.open(other).convert("RGB")) for other in OTHERS]
    assert darker @ photo_vector(picture) > max(darker @ other for other in others)


def test_pairs_of_one_name_from_two_folders(matcher, tmp_path):
    "They are kept apart, all the way from the album to the set."
    for name, mirrored in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        for kind, source in (("1", INPUT), ("2", REF)):
            with Image.open(source) as image:
                (ImageOps.mirror(image) if mirrored else image).save(tmp_path / name / f"{kind}.png")
    pairs = choose_pairs(sorted(tmp_path.rglob("*.png")), matcher, max_refs=1)
    assert {photo: found[0].path.parent for photo, found in pairs.items()} == {photo: photo.parent for photo in pairs} and len(pairs) == 4
    write_candidates(pairs, tmp_path / "pairs.csv")
    assert write_set(tmp_path / "pairs.csv", tmp_path / "set") == 4
    written = listed_pairs(tmp_path / "set")
    assert list(written) == ["1", "1_2", "2", "2_2"]
    assert read_image(written["1"][0]).equal(read_image(INPUT)) and read_image(written["1_2"][1]).equal(read_image(REF).flip(-1))


def test_nothing_is_left_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ValueError, match="There is no table"):
        write_set(tmp_path / "pairs.csv", tmp_path / "set")
    with pytest.raises(ValueError, match="no folder"):
        write_candidates({INPUT: [Candidate(REF, 0.8, 0.8, 1.0)]}, tmp_path / "missing" / "pairs.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scale", [2, 3])
def test_a_matcher_of_another_factor(lr, scale):
    "Its cells are other pixels, and the result is smaller; the zoom is counted against that result all the same."
    torch.manual_seed(0)
    matcher = ContrastiveMatcher(shifts_per_cell=scale, refine_radius=1, pad=True, scale=scale)
    small = Bicubic(scale)(read_image(INPUT))
    with Image.open(INPUT) as image:
        larger = image.resize((2 * image.width, 2 * image.height), Image.Resampling.LANCZOS)
    for photo, zoom in ((Image.open(INPUT), 1), (larger, 2)):
        found = _judge(to_image(small), scale * small.shape[-1], INPUT, photo.convert("RGB"), max(photo.size), matcher)
        assert found.useful and found.zoom == pytest.approx(zoom, rel=0.05), found


def test_only_whole_cells_are_matched(lr, matcher):
    "A matcher that has the choice is asked for the fast way; one that has not is called as it is."
    asked = []

    def watched(lr, ref, **options):
        asked.append(options)
        return matcher(lr, ref, **options)

    plain = ContrastiveMatcher(**matcher.config | dict(shifts_per_cell=1, refine_radius=0, smooth=0))
    plain.load_state_dict(matcher.state_dict())
    found = [rank_references(lr, [REF], one) for one in (watched, matcher, plain, lambda lr, ref: plain(lr, ref))]
    assert asked and all(options == dict(whole_cells=True) for options in asked)
    assert found[0] == found[1] == found[2] == found[3] and (matcher.shifts_per_cell, matcher.refine_radius) == (2, 1)
