"""Where numbers come from: machine and versions, without names and paths."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform

import psutil
from threadpoolctl import threadpool_info

from nf_isac_ros import __version__
from nf_isac_ros.bench.sampling import Row

LIBRARIES = ('numpy', 'scipy', 'numba', 'clarabel', 'scs', 'osqp', 'cvxpy', 'rosbags',
             'ros-jazzy-rclpy', 'ros-rmw-fastrtps-cpp')


def processor() -> str:
    """Model of the processor, as the kernel tells it."""
    try:
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> Row:
    """Machine, for the results; `load` is the load average of 1, 5 and 15 minutes."""
    return {
        'cpu': processor(), 'cores': os.cpu_count(),
        'memory_gib': round(psutil.virtual_memory().total / 2 ** 30, 1),
        'system': platform.system(), 'architecture': platform.machine(),
        'python': platform.python_version(), 'load_start': load(),
        'blas': sorted({f'{library["internal_api"]} {library["version"]}'
                        for library in threadpool_info() if library['user_api'] == 'blas'}),
    }


def load() -> list[float]:
    """Load average of 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def versions() -> dict[str, str]:
    """Versions of this package and of what is measured with it."""
    found = {'nf_isac_ros': __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
