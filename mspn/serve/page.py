"""The page of `mspn serve`, on Gradio: a picture, a film or the camera in, poses out.

What is uploaded is deleted within 20 seconds; what the page shows lies in the page alone. Fonts
and scripts come from Gradio's own package.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import itertools
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import cv2
from fastapi import FastAPI

# Read when Gradio is imported: its uploads lie in a folder that goes with the service.
_FOLDER = tempfile.TemporaryDirectory(prefix='mspn-serve-')
os.environ.update(GRADIO_ANALYTICS_ENABLED='False', GRADIO_TEMP_DIR=_FOLDER.name)
import gradio as gr  # noqa: E402

from ..errors import InputError  # noqa: E402
from ..media import open_media  # noqa: E402
from ..outputs import VideoFile  # noqa: E402
from ..poses import People  # noqa: E402
from .limits import Refused  # noqa: E402
from .sent import Picture, Sent  # noqa: E402
from .service import Service  # noqa: E402

_DELETED = (5, 15)  # an upload is gone after so many seconds, looked at every so many
_SESSIONS = 32  # whose latest picture is remembered, for another threshold
_MOST_FRAMES = 1500  # of a film, a minute
_IN_TURN = 16  # frames of a film that are asked for at once
_COLUMNS = ['person', 'keypoint', 'x', 'y', 'score']
_MARK = '<p role="alert" style="color:#b3261e;font-weight:600">{}</p>'
_NOTHING: Any = ('', [], '')


def make_page(service: Service) -> FastAPI:
    """Makes the application of the page."""
    blocks = _Page(service).blocks()
    blocks.state_session_capacity = _SESSIONS
    most = int(service.limits.megabytes * 1e6)
    options: Any = dict(footer_links=[], max_file_size=most, ssr_mode=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with _FOLDER:
            yield

    app: FastAPI = FastAPI(openapi_url=None, lifespan=lifespan)
    return cast(FastAPI, gr.mount_gradio_app(app, blocks, '/', **options))


class _Page:
    """What the page shows, and what its buttons do."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def blocks(self) -> gr.Blocks:
        """Lays the page out."""
        shown: Any = dict(analytics_enabled=False, delete_cache=_DELETED, fill_width=True)
        with gr.Blocks(title='MSPN', **shown) as blocks:
            gr.Markdown('# People and their poses')
            latest = gr.State(None, time_to_live=600)
            with gr.Row():
                with gr.Column(scale=2, min_width=320):
                    with gr.Tab('Picture'):
                        picture = gr.Image(
                            label='Picture', sources=['upload', 'webcam', 'clipboard'], height=300
                        )
                    with gr.Tab('Film'):
                        film = gr.Video(label='Film', sources=['upload', 'webcam'], height=300)
                    models = [*self._service.models]
                    model = gr.Dropdown(models, value=models[0], label='Model')
                    box_thr = gr.Slider(0.05, 0.95, 0.3, step=0.05, label='Score of a person')
                    point_thr = gr.Slider(0, 1.5, 0.6, step=0.05, label='Score of a keypoint')
                with gr.Column(scale=3, min_width=320):
                    view = gr.HTML(label='Poses')
                    links = gr.HTML()
                    table = gr.Dataframe(headers=_COLUMNS, label='Keypoints', interactive=False)
            settings: Any = [model, box_thr, point_thr]
            results: Any = dict(outputs=[view, table, links], api_visibility='private')
            taken: Any = dict(preprocess=False, api_visibility='private')
            picture.input(_take, [picture], [latest], **taken).then(
                self._picture, [latest, *settings], **results
            )
            for setting in settings:
                setting.change(self._picture, [latest, *settings], **results)
            film.input(self._film, [film, *settings], preprocess=False, **results)
        return blocks

    async def _picture(self, latest: Any, model: str, box_thr: float, point_thr: float) -> Any:
        if latest is None:
            return _NOTHING
        content, name = latest
        try:
            sent = Sent([Picture(content, name)], model, box_thr)
            (answer,) = await self._service.answer(sent)
        except Refused as refused:
            return _sentence(str(refused.detail))
        drawn = answer.people.draw(answer.pixels, keypoint_thr=point_thr)
        encoded = cv2.imencode('.jpg', drawn)[1].tobytes()
        rows = [row for row in _rows(answer.people) if row[-1] >= point_thr]
        stem = Path(name).stem or 'picture'
        links = _links(
            stem,
            json=answer.people.to_json(),
            csv=_csv(_COLUMNS, rows),
            jpg=encoded,
        )
        return _image(encoded, len(answer.people)), rows, links

    def _film(
        self,
        film: Any,
        model: str,
        box_thr: float,
        point_thr: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio looks for it there
    ) -> Any:
        if film is None:
            return _NOTHING
        with tempfile.TemporaryDirectory(dir=_FOLDER.name) as folder:
            own = Path(folder, 'film' + Path(film['path']).suffix)
            try:
                shutil.copyfile(film['path'], own)  # the upload itself is deleted in seconds
                return self._poses_in_film(own, _name(film), model, box_thr, point_thr, progress)
            except Refused as refused:
                return _sentence(str(refused.detail))
            except InputError as error:
                return _sentence(str(error).replace(f'{own}', _name(film)))

    def _poses_in_film(
        self, film: Path, name: str, model: str, box_thr: float, point_thr: float, progress: Any
    ) -> Any:
        media, limits = open_media(film), self._service.limits
        width, height = media.size or (0, 0)
        if not media.size or width * height > limits.megapixels * 1e6:
            raise Refused(413, f'{name} is no film of at most {limits.megapixels:g} megapixels')
        shared = self._service.predictor(model)
        frames, most = itertools.islice(media, _MOST_FRAMES), media.num_frames or _MOST_FRAMES
        asked = deque[Any]()
        rows: list[list[Any]] = []
        target = film.with_name('poses.webm')
        with VideoFile(target, frame_rate=media.frame_rate, size=media.size) as video:
            while True:
                for frame in itertools.islice(frames, _IN_TURN - len(asked)):
                    options: Any = dict(box_thr=box_thr, most=limits.people)
                    asked.append((frame, shared.submit(frame.pixels, **options)))
                if not asked:
                    break
                frame, answer = asked.popleft()
                people = answer.result()
                video.write(people.draw(frame.pixels, keypoint_thr=point_thr))
                rows += ([frame.id, *row] for row in _rows(people))
                progress((frame.id + 1, min(most, _MOST_FRAMES)), unit='frames')
            count = video.count
        cut = count == _MOST_FRAMES and most > count
        note = f'{count} frames' + (f', the first of {most}' if cut else '')
        head = ['frame', *_COLUMNS]
        entries = json.dumps([dict(zip(head, row, strict=True)) for row in rows])
        content = target.read_bytes()
        links = _links(Path(name).stem, json=entries, csv=_csv(head, rows), webm=content)
        source = _data('video/webm', content)
        view = f'<video controls autoplay muted loop style="width:100%" src="{source}"></video>'
        return f'{view}<p>{note}</p>', [], links


def _name(payload: dict[str, Any]) -> str:
    return str(payload.get('orig_name') or 'upload')


def _take(payload: dict[str, Any] | None) -> tuple[bytes, str] | None:
    """The latest picture: what was uploaded, which is deleted in seconds, and its name."""
    return (Path(payload['path']).read_bytes(), _name(payload)) if payload else None


def _sentence(text: str) -> tuple[str, list[Any], str]:
    return _MARK.format(html.escape(text)), [], ''


def _rows(people: People) -> list[list[Any]]:
    """A row for each keypoint: person, name, x, y, score."""
    return [
        [index, name, round(float(x), 1), round(float(y), 1), round(float(score), 3)]
        for index, person in enumerate(people)
        for name, (x, y), score in zip(people.names, person.keypoints, person.scores, strict=True)
    ]


def _csv(columns: list[str], rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue().encode()


def _data(kind: str, content: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def _image(content: bytes, count: int) -> str:
    found = f'{count} {"person" if count == 1 else "people"}'
    source = _data('image/jpeg', content)
    return f'<img alt="{found}" style="width:100%" src="{source}"><p>{found}</p>'


def _links(stem: str, **files: bytes | str) -> str:
    """Links that save the results; nothing of them lies on the server."""
    links = []
    for kind, content in files.items():
        content = content.encode() if isinstance(content, str) else content
        name, address = f'{stem}_poses.{kind}', _data('application/octet-stream', content)
        links.append(f'<a download="{html.escape(name)}" href="{address}">{kind.upper()}</a>')
    return 'Save: ' + ' · '.join(links)
