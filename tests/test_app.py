"""The page of `c2m app`, in a browser: two pictures in, a result, and where a place comes from."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from c2m_blocks.app import example_pair, serve

ROOT = Path(__file__).parents[1]
NO_GRADIO = "gradio is not installed: pip install 'c2m_blocks[app]'"


def test_without_gradio_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"pip install 'c2m_blocks\[app\]'"):
        serve()


def test_an_address_that_cant_be_had():
    pytest.importorskip("gradio", reason=NO_GRADIO)
    for address in (dict(port=99999), dict(host="nowhere.invalid"), dict(host="192.0.2.1", port=7860)):
        with pytest.raises(ValueError, match="can't be shown at .*: choose another --host or --port"):
            serve(**address)


def test_space_names_what_it_needs():
    front = dict(line.split(": ", 1) for line in (ROOT / "space/README.md").read_text().split("---")[1].strip().splitlines())
    bound = re.search(r"gradio>=([\d.]+)", (ROOT / "settings.ini").read_text()).group(1)
    assert front["sdk"] == "gradio" and front["sdk_version"].startswith(bound) and (ROOT / "space" / front["app_file"]).exists()
    assert "c2m_blocks[app]" in (ROOT / "space/requirements.txt").read_text()


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    "The address of the page, and the folder in which its files are."
    pytest.importorskip("gradio", reason=NO_GRADIO)
    folder = tmp_path_factory.mktemp("server")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder), "GRADIO_HEARTBEAT_INTERVAL": "0.5"}
    command = [sys.executable, "-m", "c2m_blocks", "app", "--no-browser", "--largest", "40000"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    yield re.search(r"open (\S+) ", process.stdout.readline()).group(1), folder
    process.terminate()
    assert process.wait(30) == 0 and not list(folder.glob("c2m_app_*")), "nothing is left when it has ended"


@pytest.fixture
def page(browser, server):
    page = browser.new_page()
    page.set_default_timeout(60_000)
    asked = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(server[0])
    yield page
    page.close()
    assert not [url for url in asked if not url.startswith((server[0], "data:", "blob:"))], "all that it needs is on this machine"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return example_pair(tmp_path_factory.mktemp("pair"))


def kept(folder):
    return [path.name for path in folder.rglob("*") if path.is_file()]


def upload(page, part, *files):
    page.locator(f"#{part} input[type=file]").set_input_files(files)
    page.locator(f"#{part} img").first.wait_for()


def shown(page, part):
    "The picture that is shown now, as an array."
    data = page.request.get(page.locator(f"#{part} img").get_attribute("src")).body()
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def marks(picture):
    "The middle of what is drawn in the colour of the marker, in parts of the sides."
    y, x = np.nonzero((picture == (255, 45, 141)).all(-1))
    return (x.mean() / picture.shape[1], y.mean() / picture.shape[0]) if len(x) else None


def click(page, x, y):
    "Click there, in parts of the sides, and wait for the answer."
    before, image = page.inner_text("#answer p"), page.locator("#lr img")
    box = image.bounding_box()
    image.click(position=dict(x=x * box["width"], y=y * box["height"]))
    page.wait_for_function("before => document.querySelector('#answer p').innerText !== before", arg=before)


def test_upload_look_download(page, server, pair, tmp_path):
    upload(page, "small", pair[0])
    upload(page, "photos", pair[1])
    page.click("#go")
    page.locator("#slider img").first.wait_for()
    assert "120 × 90 pixels became 480 × 360" in page.inner_text("#said")
    click(page, 0.25, 0.5)
    assert re.search(r"Pixel \((29|30), 4[4-6]\) was found in rock_leaves_ref.png.*Score 0\.\d\d", page.inner_text("#answer p"))
    assert marks(shown(page, "lr")) == pytest.approx((0.25, 0.5), abs=0.02)
    assert marks(shown(page, "scores")) == pytest.approx((0.25, 0.5), abs=0.02)
    assert marks(shown(page, "ref")) == pytest.approx((0.25, 0.5), abs=0.1), "the camera did not move far"
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "rock_leaves_x4.png"
    download.value.save_as(tmp_path / "result.png")
    with Image.open(tmp_path / "result.png") as result:
        assert (result.size, result.mode, result.format) == ((480, 360), "RGB", "PNG")
    assert "rock_leaves.png" in kept(server[1])
    page.close()
    end = time.monotonic() + 30
    while left := kept(server[1]):
        assert time.monotonic() < end, f"uploads and results are removed when the page is closed: {left}"
        time.sleep(0.5)


def test_the_right_one_of_several(page, pair, tmp_path):
    Image.new("RGB", (80, 60), "grey").save(tmp_path / "grey.png")
    upload(page, "small", pair[0])
    upload(page, "photos", tmp_path / "grey.png", pair[1])
    page.click("#go")
    page.locator("#answer img").first.wait_for()
    assert "reference 2 of 2, rock_leaves_ref.png" in page.inner_text("#answer p")
    assert "rock_leaves_ref.png" in page.inner_text("#ref")


def refused(page, part, file, why):
    "Upload a file, and wait until that was told and the file taken away."
    page.set_input_files(f"#{part} input[type=file]", file)
    page.get_by_text(why).wait_for()
    page.wait_for_function("part => !document.querySelector(`#${part} img`)", arg=part)
    page.get_by_test_id("toast-close").click()
    page.get_by_text(why).wait_for(state="detached")


def test_mistakes_are_told_in_a_sentence(page, server, pair, tmp_path):
    (tmp_path / "letter.png").write_text("this is a letter")
    for part in ("small", "photos"):
        refused(page, part, tmp_path / "letter.png", "letter.png is not a picture: give a PNG, JPEG or WebP file.")
    refused(page, "small", pair[1], "rock_leaves_ref.png has more than 0.04 million pixels: make it smaller first.")
    page.click("#go")
    page.get_by_text("There is no small picture: add the one that is to be enlarged.").wait_for()
    upload(page, "small", pair[0])
    page.click("#go")
    page.get_by_text("There is no reference: add a photo that shows the same place.").wait_for()
    assert "Traceback" not in page.content() and str(server[1]) not in page.inner_text("body")


def test_other_files_of_the_machine_are_out_of_reach(page, server, pair):
    url = f"{server[0]}gradio_api/queue"
    events = page.request.get(f"{server[0]}config").json()["dependencies"]
    stolen = dict(path=str(pair[1]))  # as no browser would send it
    for i, (name, data) in enumerate({"check_small": [stolen], "run": [stolen, [dict(image=stolen)]]}.items()):
        number = next(event["id"] for event in events if event["api_name"] == name)
        sent = page.request.post(f"{url}/join", data=dict(fn_index=number, data=data, session_hash=f"thief{i}"))
        assert sent.ok and "rock_leaves_ref.png was not uploaded" in page.request.get(f"{url}/data?session_hash=thief{i}").text()
    assert pair[1].exists()
