"""On what a run was made: commit, Python, packages, processor and GPU; and what the machine did meanwhile."""

import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import training

Readings = dict[str, list[tuple[int, float]]]
"""By name: UTC in ms, and value."""

SHOWN = ("cpu_utilization_percentage", "system_memory_usage_megabytes", "utilization_percentage", "usage_megabytes")
"""Endings of the readings that are kept: MLflow's own names, without disks, network, watts and shares."""
MOST_READINGS = 200


def environment() -> dict[str, Any]:
    """Python, operating system, processor, cores, memory, GPUs, and every installed package with its version."""
    import psutil

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": _gpus(),
        "packages": dict(sorted((d.metadata["Name"].lower(), d.version) for d in distributions())),
    }


def device(found: dict[str, Any]) -> str:
    """The name of what computes: the GPUs, or else the processor."""
    return ", ".join(found["gpus"]) or f"{found['cpu']} ({found['cores']} cores)"


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


@contextmanager
def measured(seconds: float = 5.0) -> Iterator[Readings]:
    """What the machine did while the block ran, read by MLflow's own monitors in a thread.

    At most `MOST_READINGS` are kept of each: when so many are there every second one goes, and the pause doubles.
    """
    readings: Readings = {}
    over = threading.Event()
    thread = threading.Thread(target=_measure, args=(readings, _monitors(), seconds, over), daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        over.set()
        thread.join()


def _measure(readings: Readings, monitors: list[Any], seconds: float, over: threading.Event) -> None:
    ended = False
    while not ended:
        ended = over.wait(seconds)  # a last reading at the end, so that there is one at all
        now_ms = time.time_ns() // 1_000_000
        for monitor in monitors:
            monitor.collect_metrics()
            for name, value in monitor.aggregate_metrics().items():
                if name.endswith(SHOWN):
                    readings.setdefault(name, []).append((now_ms, float(value)))
            monitor.clear_metrics()
        if any(len(found) >= MOST_READINGS for found in readings.values()):
            seconds *= 2
            for found in readings.values():
                del found[::2]


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    found = [CPUMonitor()]
    with suppress(ImportError, RuntimeError):  # no GPU, or nothing to ask it with
        found.append(GPUMonitor())
    return found


def commit() -> str:
    """The commit of the code, `+` where code or configs differ from it; `unknown` outside a checkout."""
    head, changed = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", "--", *CODE)
    return "unknown" if head is None or changed is None else head + "+" * bool(changed)


CODE = ("squeeze", "training", "configs", "pyproject.toml", "constraints.txt")


def _git(*words: str) -> str | None:
    root = Path(training.__file__).parent.parent
    try:
        said = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
