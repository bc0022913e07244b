"""The configs that ship with the package, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mspn.errors import InputError


def _paths() -> dict[str, Path]:
    """The configs' files: inside an installed package, or beside a checkout's package."""
    package = Path(__file__).resolve().parent
    for root in (package / '.mim' / 'configs', package.parent / 'configs'):
        if root.is_dir():
            return {path.stem: path for path in sorted(root.glob('[!_]*/*.py'))}  # no _base_
    raise InputError(
        f'the configs of mspn_plugin are missing from {package / ".mim"}; reinstall the package '
        '(`make setup` in a clone, or `pip install --no-deps --force-reinstall mspn_plugin`)'
    )


def list_configs() -> list[str]:
    """The names of the pose models' configs, sorted.

    `get_config` takes those in ``configs/detection`` and ``configs/own`` too.
    """
    kinds = ('detection', 'own')
    return sorted(name for name, path in _paths().items() if path.parent.name not in kinds)


def get_config(name: str) -> str:
    """The path of a config of this package.

    MMEngine's ``Config.fromfile``, ``mmpose.apis.init_model`` and ``MMPoseInferencer`` all take it.

    Args:
        name: One of `list_configs`, or of a detector, with or without ``.py``; or as much of its
            start, or whole words of it, as fit no other: ``'mspn-tiny'``.

    Returns:
        The absolute path.

    Raises:
        InputError: No config has this name, or several fit.
    """
    paths = _paths()
    stem = name.removesuffix('.py')
    fitting = [stem] if stem in paths else [each for each in paths if each.startswith(stem)]
    words = re.compile(rf'[-_]{re.escape(stem)}([-_]|$)')
    fitting = fitting or [each for each in paths if words.search(each)]
    if not fitting or not stem:
        raise InputError(f'there is no config {name!r}; the configs are: {", ".join(paths)}')
    if len(fitting) > 1:
        raise InputError(f'{len(fitting)} configs fit {name!r}: {", ".join(fitting)}')
    return str(paths[fitting[0]])


def tables(node: Any) -> Iterator[dict[str, Any]]:
    """Every table inside a part of a config, the outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for inner in node if isinstance(node, (list, tuple)) else ():
        yield from tables(inner)
