"""Several streams read in step, and work on them that is done ahead of its turn."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mspn.errors import InputError

T = TypeVar('T')
_END = object()
_IN_STOCK = 8  # results that may wait for their turn


def in_step(images: Iterable[Any], boxes: Any, scores: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Images with their boxes and scores.

    Args:
        images: The images.
        boxes: As many; ``None`` or a word stands for every image.
        scores: As many, or ``None``.

    Raises:
        InputError: They are not as many.
    """
    forever = itertools.repeat
    each = [
        images,
        forever(boxes) if boxes is None or isinstance(boxes, str) else boxes,
        forever(None) if scores is None else scores,
    ]
    iterators = [iter(values) for values in each]
    for index in itertools.count():
        image, their_boxes, their_scores = (next(iterator, _END) for iterator in iterators)
        rest = (their_boxes, their_scores)
        ended = [
            value is _END
            for value, values in zip(rest, each[1:], strict=True)
            if not isinstance(values, itertools.repeat)
        ]
        if image is _END and all(ended):
            return
        if image is _END or any(ended):
            what = ('images', 'boxes or scores')
            more, fewer = what[::-1] if image is _END else what
            raise InputError(
                f'there are more {more} than {fewer}, which ended after {index}; give an entry for '
                'every image, None for nobody'
            )
        yield image, their_boxes, their_scores


def ahead(work: Callable[..., T], items: Iterable[tuple[Any, ...]], threads: int) -> Iterator[T]:
    """Calls a function with each of the items, in threads, a few calls before they are wanted.

    The items are read in the caller's thread. With one thread the calls happen one after the
    other, in their order.

    Args:
        work: The function.
        items: Its arguments.
        threads: How many calls at once; 0 for no threads, and no reading ahead.

    Yields:
        What the calls return, in the order of the items. What one of them raises is raised in its
        place.
    """
    if not threads:
        for item in items:
            yield work(*item)
        return
    pending: deque[Future[T]] = deque()
    source = iter(items)
    failure: Exception | None = None
    with ThreadPoolExecutor(threads, thread_name_prefix='ahead') as pool:
        try:
            while True:
                while failure is None and len(pending) < threads + _IN_STOCK:
                    try:
                        pending.append(pool.submit(work, *next(source)))
                    except StopIteration:
                        break
                    except Exception as error:  # its turn comes after those that are pending
                        failure = error
                if not pending:
                    break
                yield pending.popleft().result()
        finally:
            for call in pending:
                call.cancel()
    if failure is not None:
        raise failure
