"""Read the metadata of settings.ini, the one place where it is written."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
meta = ini["DEFAULT"]


def lines(key: str) -> list[str]:
    return meta[key].split("\n")[1:]


setup(
    version=meta["version"],
    description=meta["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=meta["keywords"].split(),
    author=meta["author"],
    license=meta["license"],
    python_requires=f">={meta['min_python']}",
    packages=find_packages(include=["c2m_blocks", "c2m_blocks.*"]),
    package_data={"c2m_blocks": ["py.typed", "assets/**/*"]},
    install_requires=lines("requirements"),
    extras_require={extra: lines(f"{extra}_requirements") for extra in ("train", "perceptual", "video", "onnx", "app", "docs", "dev")},
    entry_points={
        "console_scripts": ["c2m=c2m_blocks.cli:main"],
        "nbdev": ["c2m_blocks=c2m_blocks._modidx:d"],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Typing :: Typed",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
