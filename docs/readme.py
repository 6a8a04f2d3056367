"""Write README.md and its pictures from nbs/index.ipynb: `python docs/readme.py`."""
import posixpath
import re

from bridge import ROOT, shown
from nbconvert import MarkdownExporter
from nbformat import from_dict
from traitlets.config import Config

IMAGES = "docs/images"


def moved(text: str) -> str:
    "Markdown whose relative links start at the top of the project instead of `nbs/`."
    return re.sub(r"\]\((?!\w+:|#)([\w./-]+)\)", lambda link: f"]({posixpath.normpath('nbs/' + link[1])})", text)


def readme() -> tuple[str, dict[str, bytes]]:
    "The README's text and its pictures by path."
    nb = from_dict(shown(ROOT / "nbs/index.ipynb"))
    nb.metadata["language_info"] = {"name": "python"}
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = moved(cell.source)
    hide_input = {"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": ["remove-input"]}}
    exporter = MarkdownExporter(config=Config(hide_input))
    text, resources = exporter.from_notebook_node(nb, {"output_files_dir": IMAGES, "unique_key": "index"})
    return re.sub(r"\n\s*\n", "\n\n", text).strip() + "\n", resources["outputs"]


if __name__ == "__main__":
    text, pictures = readme()
    for old in (ROOT / IMAGES).glob("index_*"):
        old.unlink()
    for path, data in pictures.items():
        (ROOT / IMAGES).mkdir(exist_ok=True)
        (ROOT / path).write_bytes(data)
    (ROOT / "README.md").write_text(text, encoding="utf-8")
