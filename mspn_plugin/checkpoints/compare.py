"""What differs between two sets of names and shapes, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mspn.errors import listed

Shapes = Mapping[str, Sequence[int]]


def differences(found: Shapes, wanted: Shapes) -> str:
    """Says what is missing, left over or of another shape; empty if nothing is.

    Args:
        found: Shapes of some weights by name.
        wanted: Shapes of a network's weights by name.
    """
    groups = {
        'missing': [name for name in wanted if name not in found],
        'not in the network': [name for name in found if name not in wanted],
        'of another shape': [
            f'{name} {tuple(found[name])} instead of {tuple(wanted[name])}'
            for name in misshapen(found, wanted)
        ],
    }
    return '; '.join(
        f'{len(names)} {what}: {listed(names)}' for what, names in groups.items() if names
    )


def misshapen(found: Shapes, wanted: Shapes) -> list[str]:
    """The names that both have, with different shapes."""
    return [name for name in wanted if name in found and tuple(found[name]) != tuple(wanted[name])]
