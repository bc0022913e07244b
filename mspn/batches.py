"""From images with boxes to people: the crops of all images share batches."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .errors import InputError
from .media import LARGEST, Image, decode
from .poses import check_boxes

Crop = TypeVar('Crop')
Person = TypeVar('Person')

WHOLE_IMAGE = 'whole_image'  # in place of boxes: the image is one person
_IN_STOCK = 8  # images whose crops may wait for their turn
_MOST_PIXELS = 2**27  # of images that wait for a full batch; they take 0.4 GB


class Item(NamedTuple):
    """An image and the boxes of its people; without boxes there is nobody."""

    image: Image  # a path, or BGR pixels (h, w, 3) uint8
    boxes: Any = None  # (N, 4), x1 y1 x2 y2 in pixels, or WHOLE_IMAGE for one person
    scores: Any = None  # (N,) from 0 to 1; 1 if absent
    key: Any = None  # whatever the caller wants to have back with the people


class Checked(NamedTuple):
    """An item that can be used: its pixels, boxes ``(N, 4)`` and scores ``(N,)`` in float32."""

    pixels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    path: str  # '' for pixels in memory


def called(index: int, image: Any) -> str:
    """What messages call an image: its index, and its path if it has one."""
    return f'image {index}' + (f' ({image})' if isinstance(image, (str, Path)) else '')


def check_item(index: int, item: Item) -> Checked:
    """Decodes and checks an item, or raises an `InputError` that calls it by its index."""
    path = str(item.image) if isinstance(item.image, (str, Path)) else ''
    name = called(index, item.image)
    pixels = decode(item.image, name)
    height, width = pixels.shape[:2]
    if max(height, width) > LARGEST:
        raise InputError(
            f'{name} has {width}x{height} pixels; OpenCV cuts crops out of at most {LARGEST} in a '
            'row or column, so divide the image'
        )
    boxes = item.boxes
    if isinstance(boxes, str):
        if boxes != WHOLE_IMAGE:
            raise InputError(f"boxes is {boxes!r}; expected numbers or '{WHOLE_IMAGE}'")
        boxes = [[0, 0, width, height]]
    return Checked(pixels, *check_boxes(boxes, item.scores, (width, height), name), path)


def in_batches(
    items: Iterable[Item],
    crop: Callable[[int, Item], list[Crop]],
    run: Callable[[list[Crop]], Sequence[Person]],
    *,
    batch_size: int,
    threads: int = 0,
) -> Iterator[tuple[Item, list[Person]]]:
    """Cuts the people out of items and runs a network over them, a batch at a time.

    No more items are in memory than a batch takes, and those that the threads have ahead.

    Args:
        items: Images with boxes.
        crop: Makes the network's input for every person of an item, which it is given after its
            index.
        run: Gives what the network finds for each crop of a batch.
        batch_size: Crops in a batch at most.
        threads: How many images are cropped ahead of their turn; with 0 nothing is read before it
            is needed.

    Yields:
        Every item and its people, in the order of the items. What `crop` or reading the items
        raises comes after the results of all items before.
    """
    waiting = deque[tuple[Item, int]]()  # with how many people
    crops, done = list[Crop](), deque[Person]()
    prepared = ahead(lambda i, item: (item, crop(i, item)), enumerate(items), threads)
    failure, ended, held = None, False, 0
    while not ended:
        try:
            item, found = next(prepared)
            waiting.append((item, len(found)))
            held += _pixels(item)
            crops += found
            del item, found  # nothing here may hold an image that is done
        except StopIteration:
            ended = True
        except Exception as error:  # what came before it is not lost
            failure, ended = error, True
        # Most images may have nobody, or be large: few people do not wait for a full batch.
        while len(crops) >= batch_size or (
            crops and (ended or len(waiting) > batch_size or held > _MOST_PIXELS)
        ):
            done += run(crops[:batch_size])
            del crops[:batch_size]
        while waiting and waiting[0][1] <= len(done):
            people = [done.popleft() for _ in range(waiting[0][1])]
            held -= _pixels(waiting[0][0])
            yield waiting.popleft()[0], people
    if failure is not None:
        raise failure


def _pixels(item: Item) -> int:
    return item.image.size // 3 if isinstance(item.image, np.ndarray) else 0


def ahead(work: Any, items: Iterable[tuple[Any, ...]], threads: int) -> Iterator[Any]:
    """What ``work(*item)`` returns, in order; with threads, some calls ahead of their turn."""
    if not threads:
        yield from itertools.starmap(work, items)
        return
    source, pending = iter(items), deque[Future[Any]]()
    with ThreadPoolExecutor(threads, thread_name_prefix='ahead') as pool:
        try:
            while True:
                free = threads + _IN_STOCK - len(pending)
                try:
                    pending += (pool.submit(work, *item) for item in itertools.islice(source, free))
                except Exception as error:  # its turn comes after those that are pending
                    pending.append(Future())
                    pending[-1].set_exception(error)
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            for call in pending:
                call.cancel()
