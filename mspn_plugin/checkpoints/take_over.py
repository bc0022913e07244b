"""Weights for another skeleton: what is the same is taken over, keypoints by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mspn.errors import InputError

from ..annotations.skeleton import plain
from .match import is_prediction


def take_over(
    weights: Mapping[str, Tensor], model: nn.Module, theirs: Sequence[str], ours: Sequence[str]
) -> dict[str, Tensor]:
    """Fills a model's weights with those of a model of the same kind for other keypoints.

    Args:
        weights: Of the other model.
        model: Initialised; its prediction layers keep what they have for keypoints that the other
            model does not know.
        theirs: The names of the other model's keypoints.
        ours: The names of the model's.

    Returns:
        The weights for the model.

    Raises:
        InputError: The models differ in more than their keypoints.
    """
    rows = {name: index for index, name in enumerate(map(plain, theirs))}
    filled = {}
    for name, own in model.state_dict().items():
        old, new = weights.get(name), own.clone()
        fits = old is not None and old.shape[1:] == own.shape[1:]
        if is_prediction(name) and fits and old is not None and old.dim():
            for index, keypoint in enumerate(map(plain, ours)):
                if keypoint in rows:
                    new[index] = old[rows[keypoint]]
        elif old is not None and old.shape == own.shape:
            new.copy_(old)
        else:
            raise InputError(f'the weights are of another model: {name} does not fit')
        filled[name] = new
    return filled
