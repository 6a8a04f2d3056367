"""What is made from the notebooks is in step with them: package, README. And the notebooks are clean."""
import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    "A copy of the project in which everything was made again from the notebooks."
    copy = tmp_path_factory.mktemp("remade") / "project"
    without = shutil.ignore_patterns(".*", "__pycache__", "_build", "assets", "data", "runs", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=without)
    shutil.rmtree(copy / "docs/images", ignore_errors=True)
    for module in exported(copy):
        (copy / module).unlink()
    run(copy, "-c", "from nbdev.doclinks import nbdev_export; nbdev_export()")
    run(copy, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()")
    run(copy, "docs/readme.py")
    return copy


def run(folder, *args):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def exported(folder):
    "Paths of the exported modules; `__init__.py` and `__main__.py` are written by hand."
    return sorted(path.relative_to(folder) for path in folder.glob("c2m_blocks/*.py") if not path.name.startswith("__"))


def assert_same(names, copy, how_to_repair):
    _, differ, missing = filecmp.cmpfiles(ROOT, copy, names, shallow=False)
    assert not differ + missing, f"{', '.join(map(str, differ + missing))}: {how_to_repair}"


def test_package_is_in_step(remade):
    assert exported(remade) == exported(ROOT), "a module without a notebook, or the other way round: run `nbdev-export`"
    assert_same(exported(ROOT), remade, "not what the notebooks say: run `nbdev-export` (or `nbdev-update`)")


def test_notebooks_are_clean(remade):
    notebooks = [path.relative_to(ROOT) for path in ROOT.glob("nbs/**/[!._]*.ipynb")]
    assert_same(notebooks, remade, "not clean: run `nbdev-clean`")


def test_readme_is_in_step(remade):
    pictures = {path.relative_to(folder) for folder in (ROOT, remade) for path in folder.glob("docs/images/index_*")}
    assert_same(["README.md", *pictures], remade, "not what nbs/index.ipynb says: run `python docs/readme.py`")


def test_readme_lists_every_notebook(monkeypatch):
    "In the order of the sidebar."
    pytest.importorskip("sphinx", reason="the sidebar is made by docs/build.py: pip install -e '.[docs]'")
    monkeypatch.syspath_prepend(ROOT / "docs")
    from build import contents

    in_sidebar = re.findall(r"^(?:tutorials/|reports/)?\d\w+$", "\n".join(contents(ROOT / "nbs")), re.M)
    listed = re.findall(r"^\|.* \[\w+\]\(nbs/([\w/]+)\.ipynb\) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert listed == in_sidebar and len(listed) == len(list((ROOT / "nbs").rglob("[0-9]*.ipynb"))), "nbs/index.ipynb: one line for each"
