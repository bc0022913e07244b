"""The models of a service, which all requests share, and what it has done so far."""

from __future__ import annotations

import asyncio
import collections
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..drawing import skeleton_of
from ..errors import InputError, listed
from ..poses import People, names_of
from ..runtime.shared import Answer, SharedPredictor
from .limits import Limits, Refused, Room
from .sent import Sent, check_size, decoded, size_of

_LATEST = 1000  # requests of which the latency is known


class _Asked(list[Answer]):
    """What a request waits for, until it is answered or nobody waits any more."""

    ended = False

    def end(self) -> None:
        """What has not begun is not computed, and what has goes no further."""
        self.ended = True
        for answer in self:
            answer.cancel()


class Service:
    """Answers requests.

    Args:
        models: The files of the pose models by their names; the first is the default.
        limits: How much is taken.
        options: Of a `SharedPredictor`.
    """

    def __init__(self, models: Mapping[str, Path], limits: Limits, **options: Any) -> None:
        self.models = {name: SharedPredictor(pose=file, **options) for name, file in models.items()}
        self.limits, self.room = limits, Room(limits)
        self._counts: collections.Counter[str] = collections.Counter()
        self._latencies: collections.deque[float] = collections.deque(maxlen=_LATEST)

    def describe(self) -> list[dict[str, Any]]:
        """The models: their keypoints, which of them limbs link, and colours (red, green, blue)."""
        described = []
        for name, model in self.models.items():
            meta = model.meta
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
        name = sent.model or next(iter(self.models))
        if name not in self.models:
            raise Refused(404, f'there is no model {name!r}; expected {listed([*self.models])}')
        shared = self.models[name]
        sizes = [await asyncio.to_thread(size_of, i, each) for i, each in enumerate(sent.pictures)]
        async with self.room.pixels(check_size(sent.pictures, sizes, self.limits)):
            asked = _Asked()
            task = asyncio.create_task(self._people(sent, sizes, shared, asked))
            try:
                found = await asyncio.shield(task)
            except InputError as error:
                raise Refused(400, str(error)) from None
            finally:
                asked.end()
                await asyncio.wait([task])  # until nothing holds the pixels any more
                task.cancelled() or task.exception()  # it has been raised, or nobody waits for it
        images = []
        for picture, (size, people) in zip(sent.pictures, found, strict=True):
            head = json.dumps(dict(name=picture.name, width=size[0], height=size[1]))
            kept = [p for p in people if p.score > sent.score_thr or not sent.score_thr]
            images.append(f'{head[:-1]}, "people": {People(kept, people.meta).to_json()}}}')
            self._counts['pictures'] += 1
            self._counts['people'] += len(kept)
        head = json.dumps(dict(model=name, keypoints=names_of(shared.meta)))
        return f'{head[:-1]}, "images": [{", ".join(images)}]}}'

    async def _people(
        self, sent: Sent, said: list[Any], shared: SharedPredictor, asked: _Asked
    ) -> list[tuple[Any, People]]:
        """Width and height of every picture as it is seen, and its people, unless it is ended."""
        sizes, answers = list[Any](), list[asyncio.Future[People]]()
        try:
            # The first is being answered while the next is decoded.
            for index, (picture, size) in enumerate(zip(sent.pictures, said, strict=True)):
                pixels, boxes = await asyncio.to_thread(decoded, index, picture, size, self.limits)
                if asked.ended:
                    return []
                options: Any = dict(box_thr=sent.box_thr, most=self.limits.people)
                asked.append(shared.submit(pixels, boxes, **options))
                answers.append(asyncio.wrap_future(asked[-1]))
                sizes.append(pixels.shape[1::-1])
                del pixels
            return list(zip(sizes, await asyncio.gather(*answers), strict=True))
        finally:
            await asyncio.gather(*answers, return_exceptions=True)

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
        for shared in self.models.values():
            shared.close()
