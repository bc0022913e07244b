"""A benchmark so small that it lasts seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.bench import Bench
from benchmarks.network import Network
from benchmarks.settings import Ranges, Settings, Sizes
from mspn_plugin.models import compiled

TINY = Network(stages=1, small=True, input_size=(96, 128))


@pytest.fixture
def settings(people, tmp_path):
    """Settings for a handful of synthetic people and a small network."""
    sizes = Sizes(
        network=TINY,
        samples=4,
        targets=2,
        decoded=8,
        train_batches=(2,),
        train_batches_gpu=(3,),
        infer_batches=(1, 2),
        compiled_batches=(2,),
        photographs=1,
        evaluated=1,
        small_images=2,
        least_time=0.0,
        scale=Ranges(
            people=(1, 3),
            images=(1, 2),
            stages=(1,),
            input_sizes=((96, 128),),
            batch_size=1,
            train_batch_size=2,
            samples=4,
            max_workers=1,
        ),
    )
    return Settings(
        device=torch.device('cpu'),
        threads=1,
        repeats=1,
        data_root=people,
        detections=None,
        out=tmp_path / 'out',
        sizes=sizes,
    )


@pytest.fixture
def bench(settings, tmp_path, monkeypatch):
    """A benchmark whose peak takes no time to measure."""
    monkeypatch.setattr('benchmarks.bench.matrix_peak', lambda *_: 1e12)
    # What torch compiles it runs as it is, which takes seconds and not a minute.
    torch._dynamo.reset()
    quick = torch.compile(compiled._pass_through, backend='eager')
    monkeypatch.setattr(compiled, '_compiled', lambda mode: quick)
    yield Bench(settings, tmp_path)
    torch._dynamo.reset()


@pytest.fixture
def like_a_gpu(monkeypatch):
    """Rows do what they do on a GPU, on the CPU."""
    monkeypatch.setattr(Bench, 'on_gpu', property(lambda _: True))


@pytest.fixture
def five_levels(bench):
    """A benchmark of two stages, for what needs no network to run."""
    network = replace(bench.sizes.network, stages=2)
    bench.sizes = replace(bench.sizes, network=network)
    return bench
