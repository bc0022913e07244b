"""Start-up on an annotation file as large as COCO's: `python -m benchmarks.startup`.

Writes a file with as many images, people and outlines as `person_keypoints_train2017.json`, then
builds MMPose's ``CocoDataset`` and `CocoPersonDataset` from it, each in a process of its own, and
prints the seconds, the memory of the main process and what each worker has for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

IMAGES, PEOPLE, UNLABELLED = 57_000, 150_000, 112_000
"""Images with people; people with keypoints; and annotations that have none."""
_OUTLINE = 44  # numbers in the outline of a person of COCO, in the median
_DATASETS = ('CocoDataset', 'CocoPersonDataset')


def write_annotations(path: Path, *, scale: float = 1.0) -> None:
    """Writes an annotation file of random people.

    Args:
        path: Where to.
        scale: Its size, as a share of COCO's.
    """
    rng = np.random.default_rng(0)
    images, people = max(int(IMAGES * scale), 1), max(int(PEOPLE * scale), 1)
    total = people + int(UNLABELLED * scale)
    owner = rng.integers(0, images, total)
    records = []
    for index in range(total):
        joints = np.zeros((17, 3), int)
        if index < people:
            joints[:] = rng.integers([1, 1, 0], [640, 480, 3], (17, 3))
            joints[0] = 320, 240, 2
        left, top, width, height = rng.uniform(10, 300, 4).round(2).tolist()
        length = 2 * int(rng.lognormal(np.log(_OUTLINE / 2), 0.6) + 3)
        records.append(
            dict(
                segmentation=[rng.uniform(0, 480, length).round(2).tolist()],
                num_keypoints=int((joints[:, 2] > 0).sum()),
                area=round(width * height * 0.53, 4),
                iscrowd=0,
                keypoints=joints.ravel().tolist(),
                image_id=int(owner[index]) + 1,
                bbox=[left, top, width, height],
                category_id=1,
                id=index + 1,
            )
        )
    names = [
        dict(id=i, file_name=f'{i:012}.jpg', width=640, height=480) for i in range(1, images + 1)
    ]
    content = dict(
        images=names, annotations=records, categories=[dict(id=1, name='person')], info={}
    )
    path.write_text(json.dumps(content), encoding='utf-8')


def memory_of(process: int | str = 'self') -> dict[str, float]:
    """Memory of a process in MB: resident, its share, and what nobody else has.

    Args:
        process: Its number. Works on Linux only.
    """
    kilobytes: dict[str, float] = {}
    for line in Path(f'/proc/{process}/smaps_rollup').read_text().splitlines()[1:]:
        name, value = line.split(':')
        kilobytes[name] = float(value.split()[0])
    own = kilobytes['Private_Clean'] + kilobytes['Private_Dirty']
    return {
        name: round(size / 1024, 1)
        for name, size in (('rss', kilobytes['Rss']), ('pss', kilobytes['Pss']), ('own', own))
    }


class _ReadMemory:
    """The last step of a pipeline: the worker says how much it has."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        return dict(process=os.getpid(), size=len(str(results['keypoints'].shape)))


def measure(dataset: str, path: Path, *, workers: int = 2, samples: int = 3200) -> dict[str, Any]:
    """Builds a data set and lets workers go through its records, without images.

    Args:
        dataset: Its registered name.
        path: The annotation file.
        workers: How many.
        samples: Records that are read in all.

    Returns:
        Seconds to build, people, records per second, and memory in MB.
    """
    import mspn_plugin  # noqa: F401, I001  registers; first, it closes the gaps
    from mmengine.registry import init_default_scope
    from mmpose.registry import DATASETS
    from torch.utils.data import DataLoader, Subset

    init_default_scope('mmpose')
    before = memory_of()
    start = time.perf_counter()
    people = DATASETS.build(dict(type=dataset, ann_file=str(path), pipeline=[_ReadMemory()]))
    seconds = time.perf_counter() - start
    order = np.random.default_rng(0).permutation(len(people))[:samples].tolist()
    feed = DataLoader(
        Subset(people, order),
        batch_size=32,
        num_workers=workers,
        collate_fn=lambda batch: batch,
        persistent_workers=True,
    )
    processes = {sample['process'] for batch in feed for sample in batch}
    return dict(
        dataset=dataset,
        seconds=round(seconds, 1),
        people=len(people),
        index=round((people.data_bytes.nbytes + people.data_address.nbytes) / 2**20, 1),
        before=before,
        main=memory_of(),
        workers=[memory_of(process) for process in processes],
    )


def main() -> None:
    """Writes the file and measures both data sets."""
    parser = argparse.ArgumentParser(description='Start-up time and memory of the data sets.')
    parser.add_argument('--scale', type=float, default=1.0, help="size as a share of COCO's")
    parser.add_argument('--workers', type=int, default=2, help='workers of the data loader')
    parser.add_argument('--file', type=Path, help='measure this annotation file instead')
    parser.add_argument('--dataset', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.dataset:
        print(json.dumps(measure(args.dataset, args.file, workers=args.workers)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / 'people.json'
        if args.file is None:
            write_annotations(path, scale=args.scale)
        print(f'{path.stat().st_size / 2**20:.0f} MB of annotations, memory in MB')
        for dataset in _DATASETS:
            command = [sys.executable, '-m', 'benchmarks.startup', '--dataset', dataset]
            command += ['--file', str(path), '--workers', str(args.workers)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(done.stdout.splitlines()[-1], flush=True)


if __name__ == '__main__':
    main()
