"""Build the site: `python docs/build.py`, then open `docs/_build/html/index.html`. A warning is an error."""
import re
import shutil
import sys

from bridge import ROOT, TEXTS, page
from fastcore.nbio import mk_cell, write_nb
from sphinx.cmd.build import main

BUILD = ROOT / "docs/_build"
CONTENTS = """```{{toctree}}
:hidden:
:caption: {caption}

{pages}
```"""


def write_pages(folder):
    "The notebooks and the project's own texts as a folder of sources for Sphinx."
    shutil.copytree(ROOT / "nbs", folder, ignore=shutil.ignore_patterns(".*", "_*"))
    for text in TEXTS:
        shutil.copy(ROOT / text, folder)
    write_benchmarks(folder)
    for notebook in folder.rglob("*.ipynb"):
        nb = page(ROOT / "nbs" / notebook.relative_to(folder))
        if notebook == folder / "index.ipynb":
            nb.cells += [mk_cell(text, "markdown") for text in contents(folder)]
        write_nb(nb, notebook)


def write_benchmarks(folder):
    "The benchmarks' page with their tables in it."
    benchmarks = ROOT / "benchmarks"
    text = (benchmarks / "README.md").read_text().replace("](../nbs/", "](")
    text = re.sub(r"^\[.*\]\((results/\S+)\)$", lambda link: (benchmarks / link[1]).read_text(), text, flags=re.M)
    (folder / "benchmarks.md").write_text(text)
    shutil.copytree(benchmarks / "results", folder / "results", ignore=shutil.ignore_patterns("*.md"))


def contents(folder):
    for caption, pattern in {"Blocks": "[0-9]*.ipynb", "Tutorials": "tutorials/*.ipynb", "Project": "[Cb]*.md"}.items():
        if pages := sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.glob(pattern)):
            yield CONTENTS.format(caption=caption, pages="\n".join(pages))


if __name__ == "__main__":
    shutil.rmtree(BUILD, ignore_errors=True)
    write_pages(BUILD / "pages")
    sys.exit(main(["-W", "--keep-going", "-q", "-c", str(ROOT / "docs"), str(BUILD / "pages"), str(BUILD / "html")]))
