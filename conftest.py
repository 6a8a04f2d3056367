"""Every notebook is a test: pytest collects the files of `nbs/` as it collects modules, and nbdev runs them."""
import builtins
import io
import os
import signal
import sys
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from nbdev.config import get_config
from nbdev.test import test_nb as run_notebook

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # which share the cores: threads for all of them in each are slower
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // int(workers))))


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".ipynb" and not file_path.name.startswith("_"):
        return NotebookFile.from_parent(parent, path=file_path)


class NotebookFile(pytest.File):
    def collect(self):
        yield Notebook.from_parent(self, name=self.path.stem)


class Notebook(pytest.Item):
    def runtest(self):
        with patch.object(sys, "__stderr__", io.StringIO()) as report, unchanged():
            passed, _ = run_notebook(self.path, skip_flags=get_config(self.path).tst_flags.split())
        if not passed:
            raise NotebookFailed(report.getvalue())

    def repr_failure(self, excinfo):
        return str(excinfo.value) if isinstance(excinfo.value, NotebookFailed) else super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, None, str(self.path.relative_to(self.config.rootpath))


class NotebookFailed(Exception):
    """A cell raised; the text is nbdev's report with the cell's number and the traceback."""


@contextmanager
def unchanged():
    """What a notebook sets must not reach the tests after it.

    nbdev itself answers Ctrl-C by ending the process, which would lose pytest's summary; its shell takes the place of `__main__` and adds
    to the builtins."""
    handler, main, folder = signal.getsignal(signal.SIGINT), sys.modules["__main__"], os.getcwd()
    path, names = [*sys.path], {*vars(builtins)}
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        sys.modules["__main__"], sys.path[:] = main, path
        os.chdir(folder)
        for name in {*vars(builtins)} - names:
            delattr(builtins, name)
