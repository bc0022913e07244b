"""Weights made elsewhere -> this package's names, and checks of weights before they are used.

An address becomes tensors in `files`, their owner is told in `sources`, the names are translated in
`convert`, and `match` compares the result with the model that is to load it.
"""

from .convert import convert_state_dict
from .sources import Source

__all__ = ['Source', 'convert_state_dict']
