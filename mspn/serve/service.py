"""The models of a service, which all requests share, and what it has done so far."""

from __future__ import annotations

import asyncio
import collections
import json
import statistics
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..drawing import skeleton_of
from ..errors import InputError, listed
from ..poses import People, names_of
from ..runtime.shared import SharedPredictor
from .limits import Limits, Refused, Room
from .sent import Sent, check_size, decoded, size_of

_LATEST = 1000  # requests of which the latency is known


class Service:
    """Answers requests.

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
        self._predictor(self.default)

    def _predictor(self, name: str) -> SharedPredictor:
        if name not in self.models:
            raise Refused(404, f'there is no model {name!r}; expected {listed([*self.models])}')
        if name not in self._loaded:
            with self._loading:
                if name not in self._loaded:
                    self._loaded[name] = SharedPredictor(pose=self.models[name], **self._options)
        return self._loaded[name]

    def describe(self) -> list[dict[str, Any]]:
        """The models: their keypoints, which of them limbs link, and colours (red, green, blue)."""
        described = []
        for name in self.models:
            meta = self._predictor(name).meta
            links, limbs, joints = (part.tolist() for part in skeleton_of(meta))
            colours = dict(
                link_colours=[colour[::-1] for colour in limbs],
                keypoint_colours=[colour[::-1] for colour in joints],
            )
            described.append(dict(name=name, keypoints=names_of(meta), links=links) | colours)
        return described

    async def answer(self, sent: Sent) -> str:
        """Finds the people in the pictures of a request, and writes the answer as JSON.

        Raises:
            Refused: The request cannot be answered.
        """
        name = sent.model or self.default
        try:
            shared = await asyncio.to_thread(self._predictor, name)
            found = await self._people(sent, shared)
        except InputError as error:
            raise Refused(400, str(error)) from None
        images = []
        for picture, (size, people) in zip(sent.pictures, found, strict=True):
            head = json.dumps(dict(name=picture.name, width=size[0], height=size[1]))
            kept = [p for p in people if p.score > sent.score_thr or not sent.score_thr]
            images.append(f'{head[:-1]}, "people": {People(kept, people.meta).to_json()}}}')
            self._counts['pictures'] += 1
            self._counts['people'] += len(kept)
        head = json.dumps(dict(model=name, keypoints=names_of(shared.meta)))
        return f'{head[:-1]}, "images": [{", ".join(images)}]}}'

    async def _people(self, sent: Sent, shared: SharedPredictor) -> list[tuple[Any, People]]:
        """Width and height of every picture as it is seen, and its people."""
        limits, pictures = self.limits, list(enumerate(sent.pictures))
        said = [await asyncio.to_thread(size_of, *numbered) for numbered in pictures]
        async with self.room.pixels(check_size(said, limits)):
            asked = []
            try:
                # The first is being answered while the next is decoded.
                for numbered, size in zip(pictures, said, strict=True):
                    pixels, boxes = await asyncio.to_thread(decoded, *numbered, size, limits)
                    options: Any = dict(box_thr=sent.box_thr, most=limits.people)
                    future = shared.submit(pixels, boxes, **options)
                    asked.append((pixels.shape[1::-1], future))
                return [(size, await asyncio.wrap_future(future)) for size, future in asked]
            finally:
                for _, future in asked:
                    future.cancel()

    def count(self, status: int, seconds: float) -> None:
        """Notes a request that has been answered."""
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
