"""The models of a service, which all requests share, and what it has done so far."""

from __future__ import annotations

import asyncio
import collections
import json
import statistics
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError, listed
from ..poses import People
from ..runtime.shared import SharedPredictor
from .limits import Limits, Refused, Room
from .sent import Sent, called, check_size, decoded, size_of

_LATEST = 1000  # requests of which the latency is known


class Answer(NamedTuple):
    """The people in one picture."""

    name: str
    pixels: np.ndarray  # (h, w, 3) uint8 BGR
    people: People


class Service:
    """Answers requests, those over HTTP and those of the page.

    Args:
        models: The files of the pose models by their names; the first is the default. It is
            loaded at once, the others when they are asked for.
        limits: How much is taken.
        options: Of a `SharedPredictor`.
    """

    def __init__(self, models: Mapping[str, Path], limits: Limits, **options: Any) -> None:
        self.models, self.limits, self._options = dict(models), limits, options
        self.default = next(iter(self.models))
        self.room = Room(limits)
        self._loaded: dict[str, SharedPredictor] = {}
        self._loading = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._latencies: collections.deque[float] = collections.deque(maxlen=_LATEST)
        self.predictor(None)

    def predictor(self, name: str | None) -> SharedPredictor:
        """The model of a name; without one the default."""
        name = name or self.default
        if name not in self.models:
            raise Refused(404, f'there is no model {name!r}; expected {listed([*self.models])}')
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = SharedPredictor(pose=self.models[name], **self._options)
            return self._loaded[name]

    async def answer(self, sent: Sent) -> list[Answer]:
        """Finds the people in the pictures of a request.

        Raises:
            Refused: The request cannot be answered.
        """
        with self.room.request():
            try:
                async with asyncio.timeout(self.limits.seconds):
                    answers = await self._answer(sent)
            except TimeoutError:
                raise Refused(
                    503, f'there is no answer after {self.limits.seconds:g} s; try again later'
                ) from None
            except InputError as error:
                raise Refused(400, str(error)) from None
        self._counts['pictures'] += len(answers)
        self._counts['people'] += sum(len(answer.people) for answer in answers)
        return answers

    async def _answer(self, sent: Sent) -> list[Answer]:
        shared = await asyncio.to_thread(self.predictor, sent.model)
        limits, pictures = self.limits, list(enumerate(sent.pictures))
        sizes = [await asyncio.to_thread(size_of, *numbered) for numbered in pictures]
        async with self.room.pixels(check_size(sizes, limits)):
            asked = []
            try:
                for numbered in pictures:  # the first is being answered while the next is decoded
                    pixels, boxes = await asyncio.to_thread(decoded, *numbered, limits)
                    options: Any = dict(box_thr=sent.box_thr, most=limits.people)
                    asked.append((pixels, shared.submit(pixels, boxes, **options)))
                found = [await asyncio.wrap_future(future) for _, future in asked]
            finally:
                for _, future in asked:
                    future.cancel()
        return [
            Answer(called(*numbered), pixels, _above(people, sent.score_thr))
            for numbered, (pixels, _), people in zip(pictures, asked, found, strict=True)
        ]

    def to_json(self, sent: Sent, answers: list[Answer]) -> str:
        """What a request over HTTP is answered."""
        shared = self.predictor(sent.model)
        images = []
        for picture, answer in zip(sent.pictures, answers, strict=True):
            height, width = answer.pixels.shape[:2]
            head = json.dumps(dict(name=picture.name, width=width, height=height))
            images.append(f'{head[:-1]}, "people": {answer.people.to_json()}}}')
        head = json.dumps(
            dict(
                model=sent.model or self.default, keypoints=shared.predictor.pose.facts['keypoints']
            )
        )
        return f'{head[:-1]}, "images": [{", ".join(images)}]}}'

    def count(self, status: int, seconds: float) -> None:
        """Notes a request over HTTP that has been answered."""
        self._counts[f'{status}'] += 1
        if status == 200:
            self._latencies.append(seconds)

    def stats(self) -> dict[str, Any]:
        """What has been answered so far, and how fast."""
        latest = sorted(self._latencies)
        cuts = statistics.quantiles(latest, n=20, method='inclusive') if len(latest) > 1 else latest
        return dict(
            requests={key: n for key, n in sorted(self._counts.items()) if key.isdecimal()},
            pictures=self._counts['pictures'],
            people=self._counts['people'],
            being_answered=self.room.requests,
            latency_ms={
                name: round(1000 * cuts[index], 1)
                for name, index in (('p50', len(cuts) // 2), ('p95', len(cuts) - 1))
                if cuts
            },
        )

    def close(self) -> None:
        """Ends the threads of the models."""
        for shared in self._loaded.values():
            shared.close()


def _above(people: People, score: float) -> People:
    if score <= 0:
        return people
    return People([person for person in people if person.score > score], people.meta)
