"""One predictor for many callers: what they send at the same time shares batches."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np

from ..batches import Item, check_item
from ..media import Frame
from ..pipeline import distinct
from ..poses import People, Pose
from .predictor import AT_ONCE, Predictor

LOWEST = 0.05  # score of a box that a caller may ask for
# A crowd does not keep the others waiting: it takes turns with what comes after it.
_PEOPLE = 8  # of a picture in a turn
_CROWDS = 8  # pictures of which a turn goes on


class Answer(Future[People]):
    """What will hold the people of a picture."""

    unwanted = False

    def cancel(self) -> bool:
        """Gives it up; what has begun ends after its turn."""
        self.unwanted = True
        return super().cancel()


class _Asked:
    """A picture, and what is known of it so far."""

    def __init__(self, pixels: np.ndarray, boxes: Any, box_thr: float, most: int) -> None:
        self.pixels, self.boxes, self.scores = pixels, boxes, None
        self.box_thr, self.most = box_thr, most
        self.detects = boxes is None
        self.poses, self.done = list[Pose](), 0  # boxes of which the poses are there
        self.answer = Answer()
        self.answer.add_done_callback(self._drop)

    def _drop(self, _: Any) -> None:
        del self.pixels  # it may take long until its turn comes, if nobody waits for it any more

    def next(self) -> Item:
        """The boxes of a turn."""
        part = slice(self.done, self.done + _PEOPLE)
        scores = None if self.scores is None else self.scores[part]
        return Item(self.pixels, self.boxes[part], scores, self)


class SharedPredictor:
    """Answers many threads with the batches of one thread. Close it in the end.

    The answers are those of a `Predictor` that has the same thresholds. A picture of many people
    takes turns with the others.

    Args:
        models: Of a `Predictor`: ``pose``, ``detector``, ``device`` and ``threads``.
        wait: Seconds that the first picture of a batch waits for others.
        most: Pictures in a batch.

    Raises:
        InputError: A file is not usable.
    """

    def __init__(self, *, wait: float = 0.003, most: int = 16, **models: Any) -> None:
        self.predictor = Predictor(box_thr=LOWEST, **models)
        self.meta = self.predictor.meta
        self._wait, self._most = wait, most
        self._asked = queue.SimpleQueue[_Asked | None]()
        self._open, self._opening = True, threading.Lock()
        self._thread = threading.Thread(target=self._work, name='batches', daemon=True)
        self._thread.start()

    def submit(
        self, pixels: np.ndarray, boxes: Any = None, *, box_thr: float = 0.3, most: int = 1000
    ) -> Answer:
        """Asks for the people in one picture.

        Args:
            pixels: ``(h, w, 3)`` uint8 BGR.
            boxes: As `Predictor.predict` takes them.
            box_thr: Leaves out boxes of the detector with a lower score; at least `LOWEST`.
            most: Boxes of the detector at most, those with the highest scores.

        Returns:
            What will hold the people. If it is cancelled, no more than a turn is computed; it is
            done when nothing here holds the pixels any more.

        Raises:
            InputError: The pixels or a box are not usable.
            RuntimeError: It is closed.
        """
        checked = check_item(0, Item(pixels, boxes))
        own = None if boxes is None else checked.boxes
        asked = _Asked(checked.pixels, own, box_thr, most)
        with self._opening:
            if not self._open:
                raise RuntimeError('the predictor is closed')
            self._asked.put(asked)
        return asked.answer

    def close(self) -> None:
        """Ends the thread, after what was asked before."""
        with self._opening:
            self._open = False
            self._asked.put(None)
        self._thread.join()

    def _work(self) -> None:
        begun, is_open = deque[_Asked](), True
        while begun or is_open:
            arrived = self._arrived(0.0 if begun else None) if is_open else []
            is_open = is_open and None not in arrived
            new = [each for each in arrived if each and each.answer.set_running_or_notify_cancel()]
            _each(self._detect, [each for each in new if each.boxes is None])
            going_on = [begun.popleft() for _ in range(min(_CROWDS, len(begun)))]
            turn = [each for each in new + going_on if not each.answer.done()]
            _each(self._find, turn)
            begun += [each for each in turn if not each.answer.done()]
            del arrived, new, going_on, turn  # nothing here may hold a picture that is done

    def _arrived(self, patience: float | None) -> list[_Asked | None]:
        """What is asked next, and soon after it; the last may be the end."""
        arrived, end = list[_Asked | None](), None
        while len(arrived) < self._most and None not in arrived:
            try:
                arrived.append(self._asked.get(timeout=patience))
            except queue.Empty:
                break
            now = time.monotonic()
            end = end or now + self._wait
            patience = max(0.0, end - now)
        return arrived

    def _detect(self, batch: list[_Asked]) -> None:
        for start in range(0, len(batch), AT_ONCE):
            some = batch[start : start + AT_ONCE]
            found = self.predictor.detect([Frame('', 0, each.pixels) for each in some])
            for each, (boxes, scores) in zip(some, found, strict=True):
                good = np.flatnonzero(scores >= each.box_thr)[: each.most]
                each.boxes, each.scores = boxes[good], scores[good]

    def _find(self, batch: list[_Asked]) -> None:
        for item, poses in list(self.predictor.pose.stream([each.next() for each in batch])):
            asked: _Asked = item.key
            asked.poses += poses
            asked.done += len(item.boxes)
            if asked.done == len(asked.boxes):
                asked.answer.set_result(People(self._kept(asked), self.meta))
            elif asked.answer.unwanted:
                asked.answer.set_exception(CancelledError())

    def _kept(self, asked: _Asked) -> list[Pose]:
        if not asked.detects:
            return asked.poses
        return distinct(asked.poses, self.meta['sigmas'], self.predictor.oks_thr)


def _each(work: Callable[[list[_Asked]], None], batch: list[_Asked]) -> None:
    """Works on a batch; if it fails, on each by itself, so that only those fail that must."""
    try:
        if batch:
            work(batch)
    except Exception:
        for one in batch:
            try:
                work([one])
            except Exception as error:  # nobody waits for ever
                one.answer.set_exception(error)
