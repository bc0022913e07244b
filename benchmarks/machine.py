"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmpose', 'numpy', 'opencv-python-headless')


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    if platform.system() == 'Darwin':
        command = ['sysctl', '-n', 'machdep.cpu.brand_string']
        done = subprocess.run(command, capture_output=True, text=True)
        if done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """The name of a GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else cpu_name()


def describe(device: torch.device, threads: int) -> dict[str, str]:
    """Facts that a figure means nothing without, by name.

    Args:
        device: Where the networks run.
        threads: Threads of the processor that they may use.
    """
    processor = f'{cpu_name()}, {os.cpu_count()} cores'
    return {
        'date': time.strftime('%Y-%m-%d'),
        'device': processor if device.type == 'cpu' else device_name(device),
        'processor': processor,
        'instructions': torch.backends.cpu.get_cpu_capability(),
        'threads': str(threads),
        'system': f'{platform.system()} {platform.machine()}, Python {platform.python_version()}',
        'CUDA': str(torch.version.cuda) if device.type == 'cuda' else 'not used',
        'TF32': 'allowed' if torch.backends.cudnn.allow_tf32 else 'not allowed',
        'packages': ', '.join(f'{name} {_version(name)}' for name in _PACKAGES),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return '-'
