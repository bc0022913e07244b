"""One predictor for many callers: what they send at the same time shares batches."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from ..batches import Item, check_item
from ..media import Frame
from ..pipeline import distinct
from ..poses import People, Pose
from .predictor import AT_ONCE, Predictor

LOWEST = 0.05  # score of a box that a caller may ask for


class _Asked(NamedTuple):
    pixels: np.ndarray
    boxes: Any  # of the detector if absent
    box_thr: float
    most: int
    answer: Future[People]


class SharedPredictor:
    """Answers many threads with the batches of one thread. Close it in the end.

    The answers are those of a `Predictor` that has the same thresholds.

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
    ) -> Future[People]:
        """Asks for the people in one picture.

        Args:
            pixels: ``(h, w, 3)`` uint8 BGR.
            boxes: As `Predictor.predict` takes them.
            box_thr: Leaves out boxes of the detector with a lower score; at least `LOWEST`.
            most: Boxes of the detector at most, those with the highest scores.

        Returns:
            What will hold the people. If it is cancelled before its turn, nothing is computed.

        Raises:
            InputError: The pixels or a box are not usable.
            RuntimeError: It is closed.
        """
        checked = check_item(0, Item(pixels, boxes))
        own = None if boxes is None else checked.boxes
        asked = _Asked(checked.pixels, own, box_thr, most, Future())
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
        while (first := self._asked.get()) is not None:
            batch: list[_Asked | None] = [first]
            end = time.monotonic() + self._wait
            while batch[-1] is not None and len(batch) < self._most:
                try:
                    batch.append(self._asked.get(timeout=max(0.0, end - time.monotonic())))
                except queue.Empty:
                    break
            wanted = [each for each in batch if each and each.answer.set_running_or_notify_cancel()]
            try:
                self._answer(wanted)
            except Exception:  # then each by itself: only those fail that must
                self._answer_each(wanted)
            ended = batch[-1] is None
            del first, batch, wanted  # nothing here may hold a picture that is done
            if ended:
                return

    def _answer_each(self, batch: list[_Asked]) -> None:
        for asked in batch:
            try:
                if not asked.answer.done():
                    self._answer([asked])
            except Exception as error:  # nobody waits for ever
                asked.answer.set_exception(error)

    def _answer(self, batch: list[_Asked]) -> None:
        for item, poses in self.predictor.pose.stream(self._items(batch)):
            asked: _Asked = item.key
            asked.answer.set_result(People(self._kept(asked, poses), self.meta))

    def _kept(self, asked: _Asked, poses: list[Pose]) -> list[Pose]:
        if asked.boxes is not None:
            return poses
        return distinct(poses, self.meta['sigmas'], self.predictor.oks_thr)

    def _items(self, batch: list[_Asked]) -> Iterator[Item]:
        for start in range(0, len(batch), AT_ONCE):
            some = batch[start : start + AT_ONCE]
            frames = [Frame('', 0, each.pixels) for each in some if each.boxes is None]
            found = iter(self.predictor.detect(frames) if frames else [])
            for each in some:
                if each.boxes is None:
                    boxes, scores = next(found)
                    good = np.flatnonzero(scores >= each.box_thr)[: each.most]
                    yield Item(each.pixels, boxes[good], scores[good], each)
                else:
                    yield Item(each.pixels, each.boxes, None, each)
