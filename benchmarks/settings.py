"""What a benchmark measures, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from mspn.errors import InputError

from .network import Network


@dataclass(frozen=True)
class Ranges:
    """How much work the measurements of cost against work do.

    Attributes:
        people: Numbers of people in an image.
        images: Numbers of images, for the small network.
        stages: Numbers of stages.
        input_sizes: ``(w, h)`` of the network's input.
        batch_size: People in a batch of inference.
        train_batch_size: Samples in a training step.
        samples: Training samples for each number of workers.
        max_workers: Workers of a data loader at most; as many as there are cores if absent.
    """

    people: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    images: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000)
    stages: tuple[int, ...] = (1, 2, 3, 4)
    input_sizes: tuple[tuple[int, int], ...] = ((192, 256), (288, 384))
    batch_size: int = 4
    train_batch_size: int = 2
    samples: int = 512
    max_workers: int | None = None


@dataclass(frozen=True)
class Sizes:
    """Amounts of work.

    Attributes:
        name: What to call them.
        network: The network that is measured.
        samples: Training samples for the data pipeline's rows.
        targets: Samples in a batch of targets and losses.
        decoded: People in a batch of heatmaps to decode.
        train_batches: Batch sizes of the training step on a CPU.
        train_batches_gpu: The same on a GPU.
        infer_batches: Batch sizes of inference, with flip test.
        compiled_batches: Those of them that are measured with `torch.compile` too, which takes a
            minute or more for each.
        photographs: Crowded images for end-to-end inference.
        evaluated: Images for the evaluation of the network.
        small_images: Images for the rows of the small network.
        least_time: Seconds that one measurement lasts at least.
        slow_repeats: Measurements of each side at most, for rows that take minutes.
        scale: How far the measurements of cost against work go.
    """

    name: str = 'full'
    network: Network = field(default_factory=Network)
    samples: int = 256
    targets: int = 32
    decoded: int = 64
    train_batches: tuple[int, ...] = (8,)
    train_batches_gpu: tuple[int, ...] = (32, 128)
    infer_batches: tuple[int, ...] = (1, 8, 64)
    compiled_batches: tuple[int, ...] = (8,)
    photographs: int = 8
    evaluated: int = 40
    small_images: int = 1000
    least_time: float = 0.2
    slow_repeats: int = 3
    scale: Ranges = field(default_factory=Ranges)

    def with_stages(self, stages: int) -> Sizes:
        """The same for a network of another number of stages."""
        return replace(self, network=replace(self.network, stages=stages))


QUICK = Sizes(
    name='quick',
    samples=96,
    infer_batches=(1, 8),
    compiled_batches=(),
    train_batches_gpu=(32,),
    photographs=2,
    evaluated=2,
    small_images=24,
    least_time=0.05,
    slow_repeats=1,
    scale=Ranges(
        people=(1, 4, 16),
        images=(1, 10, 100),
        stages=(1, 2),
        input_sizes=((192, 256),),
        batch_size=2,
        train_batch_size=2,
        samples=96,
    ),
)
"""Sizes for a run of minutes on two cores."""


@dataclass(frozen=True)
class Settings:
    """How a benchmark runs.

    Attributes:
        device: Where the networks run.
        threads: Threads of a CPU's networks; the data pipeline always has one.
        repeats: Measurements of each side.
        data_root: A folder in COCO's layout.
        detections: A file of detected boxes for its validation images; their annotated boxes if
            absent.
        out: Folder for results.
        sizes: Amounts of work.
    """

    device: torch.device
    threads: int
    repeats: int
    data_root: Path
    detections: Path | None
    out: Path
    sizes: Sizes

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.threads < 1:
            raise InputError(
                f'--repeats is {self.repeats} and --threads is {self.threads}; both must be at '
                'least 1'
            )
        if self.device.type == 'cuda' and not torch.cuda.is_available():
            raise InputError('--device cuda: there is no CUDA device; leave the option out')
        if self.detections is not None and not self.detections.is_file():
            raise InputError(f'--detections: the file {self.detections} does not exist')
