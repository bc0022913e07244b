"""Runs of the tools that last seconds, and what they say when they end at once."""

from __future__ import annotations

import pytest

TINY = 'mspn-tiny_1xb16-20e_coco-128x96'
SMALL = [
    'model.backbone.stem_channels=8',
    'model.backbone.base_channels=4',
    *(f'model.{part}.unit_channels=8' for part in ('backbone', 'neck', 'head')),
]
"""Options for a network of a few thousand weights."""


def sentence(capsys, call, *arguments, **options):
    """Calls a tool, expects it to end with one sentence and status 2, and gives the sentence."""
    with pytest.raises(SystemExit) as caught:
        call(*arguments, **options)
    assert caught.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith('error: ') and 'Traceback' not in message
    return message
