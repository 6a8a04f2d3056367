"""The site: it builds without a warning, its links lead somewhere, and in a browser its pages look and work as they should."""

import os
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PHONE, DESK = dict(width=390, height=844), dict(width=1280, height=900)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The folder of the built site. SITE names one for it to be built in, and to be taken from the next time."
    folder = Path(os.environ.get("SITE") or tmp_path_factory.mktemp("site")).resolve()
    if not (folder / "html").exists():
        pytest.importorskip("furo", reason="what builds the site is not installed: pip install -e '.[dev,docs]'")
        done = subprocess.run([sys.executable, ROOT / "docs/build.py", folder], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


class Page(HTMLParser):
    "What a page links to, and the names in it that can be linked to."

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.names = set(), {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links |= {attrs[key] for key in ("href", "src") if attrs.get(key)}
        self.names |= {attrs[key] for key in ("id", "name") if attrs.get(key)}


def test_every_link_inside_leads_somewhere(site):
    pages = {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    assert "index.html" in pages and len(pages) > 40
    broken = []
    for name, page in pages.items():
        for link in page.links:
            target = urlsplit(urljoin(f"http://site/{name}", link))
            path = unquote(target.path).lstrip("/") or "index.html"
            if target.netloc != "site":
                continue
            if not (site / path).is_file() or path in pages and unquote(target.fragment) not in pages[path].names:
                broken.append(f"{name}: {link}")
    assert not broken, "\n".join(broken)


def test_tables_and_signatures_are_no_raw_text(site):
    "A table that is not understood shows its dashes, a signature that is not understood its `~module.name`."
    text = {path.name: re.sub(r"<pre>.*?</pre>", "", path.read_text(encoding="utf-8"), flags=re.S) for path in site.glob("*.html")}
    assert not [name for name, read in text.items() if re.search(r"\| ?-{3}|<dt class=\"sig.*~\w", read)]


def test_every_notebook_can_be_opened(site):
    opened = {path.name for path in (site / "_downloads").rglob("*.ipynb")}
    assert opened == {path.name for path in (ROOT / "nbs").rglob("[!._]*.ipynb")}


@pytest.fixture(scope="module")
def tab(browser, site):
    "A page of the browser that knows where the site is, and what went wrong: errors, and whatever could not be had."

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    page = browser.new_page(base_url=url, viewport=DESK, permissions=["clipboard-read", "clipboard-write"])
    page.set_default_timeout(120_000)
    page.faults = []  # what was aborted is none: the page was left before it had its icon
    fault = lambda what: page.faults.append(f"{page.url}: {what}")
    page.on("console", lambda said: said.type == "error" and fault(said.text))
    page.on("pageerror", fault)
    page.on("request", lambda request: request.url.startswith((url, "data:")) or fault(f"{request.url} is asked for"))
    page.on("requestfailed", lambda request: request.failure == "net::ERR_ABORTED" or fault(f"{request.url}: {request.failure}"))
    page.on("response", lambda response: response.status < 400 or fault(f"{response.url}: {response.status}"))
    yield page
    page.close()
    server.shutdown()


@pytest.fixture
def page(tab):
    tab.set_viewport_size(DESK)
    tab.faults.clear()
    yield tab
    assert not tab.faults, "\n".join(tab.faults)


LOOKED_AT = """async () => {
    await (window.MathJax?.startup?.promise ?? null)
    const names = (found, what) => [...found].slice(0, 3).map(one => `${what} ${(one.src ?? one.textContent).slice(-60)}`)
    const content = document.querySelector(".content")  // what is wider is moved in it, not in the window
    const wide = content.scrollWidth - content.clientWidth
    return [
        ...names([...document.images].filter(image => image.complete && !image.naturalWidth), "broken image"),
        ...names(document.querySelectorAll("[data-mml-node=merror], mjx-container [fill=red]"), "formula with an error"),
        ...names([...document.querySelectorAll(".math")].filter(one => !one.querySelector("mjx-container")), "formula that is not drawn"),
        ...(wide > 0 ? [`wider than the screen by ${wide} pixels`] : []),
    ]
}"""


def test_every_page_on_a_phone(page, site):
    page.set_viewport_size(PHONE)
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.parts:
            page.goto(path.relative_to(site).as_posix())
            page.faults += [f"{page.url}: {what}" for what in page.evaluate(LOOKED_AT)]


def test_search_finds_a_name(page):
    page.goto("index.html")
    page.fill(".sidebar-search", "DynamicAggregation")
    page.press(".sidebar-search", "Enter")
    found = page.locator("#search-results a[href*='#c2m_blocks.aggregation.DynamicAggregation']").first
    page.wait_for_load_state("networkidle")  # results are filled with what their pages say
    found.click()
    assert urlsplit(page.url).path == "/23_aggregation.html"
    assert "class" in page.locator("dt[id='c2m_blocks.aggregation.DynamicAggregation']").inner_text()


def test_light_and_dark(page):
    page.goto("23_aggregation.html")
    seen = set()
    for _ in range(3):  # as the system has it, light, dark
        page.locator(".theme-toggle:visible").click()
        theme, colour = page.evaluate("[document.body.dataset.theme, getComputedStyle(document.body).backgroundColor]")
        seen.add((theme, colour))
    colours = dict(seen)
    assert set(colours) == {"auto", "light", "dark"} and colours["light"] != colours["dark"]


def test_code_is_copied(page):
    page.goto("start.html")
    block = page.locator("div.highlight-python").first
    block.hover()
    block.locator("button.copybtn").click()
    page.wait_for_function("navigator.clipboard.readText().then(text => text.length > 0)")
    assert page.evaluate("navigator.clipboard.readText()").strip() == block.locator("pre").inner_text().strip()


def test_names_in_code_are_links(page):
    page.goto("start.html")
    page.locator("div.highlight a", has_text="RefSRNet").first.click()
    assert page.url.endswith("27_restoration.html#c2m_blocks.restoration.RefSRNet")
