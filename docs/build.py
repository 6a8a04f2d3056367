"""Build the site: `python docs/build.py`, then open `docs/_build/html/index.html`. A warning is an error.

With a folder, `python docs/build.py FOLDER`, it is built there."""
import re
import shutil
import sys
from pathlib import Path

from bridge import ROOT, TEXTS, api, page
from fastcore.nbio import mk_cell, read_nb, write_nb
from links import linked
from sphinx.cmd.build import main

GROUPS = {  # of the sidebar, and the pages in each, numbered in this order; Sphinx tells if one is left out
    "Start": "start",
    "Tutorials": "tutorials/*",
    "Basics": "0*",
    "Matching": "1*",
    "Blocks": "2*",
    "Video": "3*",
    "Weights": "4*",
    "Use": "5* 90_cli",
    "Data": "datasets 6*",
    "Training": "7*",
    "Evaluation": "8*",
    "Reports": "benchmarks reports/*",
    "Project": "api CONTRIBUTING CHANGELOG",
}
CONTENTS = """```{{toctree}}
:hidden:
:caption: {caption}

{pages}
```"""


def write_pages(folder: Path):
    "The notebooks and the project's own texts as a folder of sources for Sphinx."
    for copy in (folder, folder / "notebooks"):  # the first become pages, the second stay as they are, to be opened
        shutil.copytree(ROOT / "nbs", copy, ignore=shutil.ignore_patterns(".*", "_*"))
    texts = {Path(text).name: (ROOT / text).read_text() for text in (*TEXTS, "docs/datasets.md")}
    for name, text in {**texts, "benchmarks.md": benchmarks(), "api.md": api()}.items():
        (folder / name).write_text(linked(text))
    shutil.copytree(ROOT / "benchmarks/results", folder / "results", ignore=shutil.ignore_patterns("*.md"))
    for notebook in (folder / "notebooks").rglob("*.ipynb"):
        name = notebook.relative_to(folder / "notebooks")
        write_nb(page(name), folder / name)
    divide_index(folder)


def benchmarks() -> str:
    "The benchmarks' page with their tables in it."
    folder = ROOT / "benchmarks"
    text = (folder / "README.md").read_text().replace("](../nbs/", "](")
    return re.sub(r"^\[.*\]\((results/\S+)\)$", lambda link: (folder / link[1]).read_text(), text, flags=re.M)


def divide_index(folder: Path):
    "How to begin, in the index one of its chapters, is a page of its own; in its place the first page shows the way."
    home, start = (read_nb(folder / "index.ipynb") for _ in range(2))
    titles = [cell.source.partition("\n")[0] for cell in home.cells]
    chapter = slice(titles.index("## Get started"), titles.index("## One block in a network of yours"))
    start.cells = start.cells[chapter]
    start.cells[0].source = start.cells[0].source[1:]  # its heading is the page's
    home.cells[chapter] = [mk_cell((ROOT / "docs/home.md").read_text(), "markdown")]
    home.cells += [mk_cell(text, "markdown") for text in contents(folder)]
    write_nb(start, folder / "start.ipynb"), write_nb(home, folder / "index.ipynb")


def matching(folder: Path, pattern: str) -> list[Path]:
    return sorted(path.relative_to(folder).with_suffix("") for path in folder.glob(f"{pattern}.ipynb"))


def contents(folder: Path):
    for caption, names in GROUPS.items():
        found = [page for name in names.split() for page in (matching(folder, name) if "*" in name else [name])]
        if found:
            yield CONTENTS.format(caption=caption, pages="\n".join(map(str, found)))


if __name__ == "__main__":
    build = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/_build"
    for part in ("pages", "html"):
        shutil.rmtree(build / part, ignore_errors=True)
    write_pages(build / "pages")
    sys.exit(main(["-W", "--keep-going", "-q", "-c", str(ROOT / "docs"), str(build / "pages"), str(build / "html")]))
