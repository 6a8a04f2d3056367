"""What the benchmarks have in common: the machine, times, memory and tables."""

import ctypes
import gc
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch


def machine() -> str:
    "One line about where the figures come from."
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    features = "AVX-512" if torch.cpu._is_avx512_supported() else "AVX2" if torch.cpu._is_avx2_supported() else "no AVX2"
    threads = torch.get_num_threads()
    return f"{cpu} ({features}), {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}, Python {platform.python_version()}"


def fastest(f: Callable, repeats: int = 3) -> float:
    "Seconds of the fastest of several calls, after one that does not count."
    f()
    return min(seconds(f) for _ in range(repeats))


def seconds(f: Callable) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def resident() -> float:
    "Memory of this process now, MB."
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def extra_memory(f: Callable) -> float:
    "How far the memory of the process rises above its start during a call, MB."
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or what others left would be used first and not be seen
    before, peak, done = resident(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        f()
    finally:
        done.set(), watcher.join()
    return max(peak[0] - before, 0.0)


def table(header: str, rows: list[list]) -> str:
    "A Markdown table; the first column is text, the others are figures."
    names = header.split(" | ")
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def results(name: str) -> Path:
    "Where a benchmark leaves what the site shows."
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    return folder / name
