"""What a user gets by `pip install`: the right files, quick to import."""
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW_TO_IMPORT = {"matplotlib", "accelerate", "torchvision", "timm", "kornia", "tensorboard", "gradio", "av"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The folder with the source distribution and the wheel, the second made from the first."
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    "A folder that holds the package as the wheel installs it."
    folder = tmp_path_factory.mktemp("site")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, *built.glob("*.whl"))
    return folder


def run(*args, cwd=None, path=""):
    "Standard output of Python in a process of its own; `path` comes before what is installed."
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *args], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_has_weights_and_demo(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = archive.namelist()
    assert "c2m_blocks/assets/c2m-tiny/model.safetensors" in names
    assert "c2m_blocks/py.typed" in names
    demo = [name for name in names if name.startswith("c2m_blocks/assets/demo/")]
    assert sum(name.endswith((".png", ".jpg", ".webp")) for name in demo) >= 2
    assert not [name for name in names if not name.startswith("c2m_blocks")], "the wheel holds the package alone"


def test_source_distribution_is_whole(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"settings.ini", "CITATION.cff", "nbs/index.ipynb", "tests/test_package.py", "docs/conf.py", "LICENSE"} <= inside


def test_installed_package_imports(installed, tmp_path):
    where = run("-c", "import c2m_blocks; print(c2m_blocks.__file__)", cwd=tmp_path, path=str(installed))
    assert Path(where.strip()) == installed / "c2m_blocks/__init__.py"


def test_import_loads_nothing_slow():
    loaded = run("-c", "import sys, c2m_blocks; print(*sys.modules)").split()
    assert "c2m_blocks.video" in loaded and not SLOW_TO_IMPORT & set(loaded)
