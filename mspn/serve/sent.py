"""What a request holds: pictures with their boxes, and settings. All of it is checked here."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.requests import Request

from ..batches import WHOLE_IMAGE, Item, check_item
from ..errors import InputError
from ..json_files import parse_json, shown
from ..media import decode_content
from ..poses import check_boxes
from ..runtime.shared import LOWEST
from .limits import Limits, Refused

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF')
_MOST_PARTS = 50_000  # lists, objects and commas of JSON; 16 pictures of 200 boxes have 16,000
_MOST_SCANS = 100  # of a progressive JPEG; each is gone through over all of its pixels
_NAME = 200  # characters of a picture's name that the answer repeats
_BODY = 'the body of the request'
_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')  # of a JPEG, but for those within a scan
_END, _SCAN, _ALONE = 0xD9, 0xDA, (0x01, 0xD8)  # the last two have no length
_FORMS = (
    'send one picture as the body (Content-Type: image/jpeg), several as multipart/form-data, or '
    'JSON: {"images": [{"data": "<base64>"}]}'
)


@dataclass(frozen=True)
class Picture:
    """A picture as it was sent."""

    content: bytes
    name: str
    boxes: Any = None  # (N, 4), x1 y1 x2 y2; or WHOLE_IMAGE


@dataclass(frozen=True)
class Sent:
    """A request, taken apart."""

    pictures: list[Picture] = field(default_factory=list)
    model: str | None = None
    box_thr: float = 0.3
    score_thr: float = 0.0


async def read_request(request: Request, limits: Limits) -> Sent:
    """Takes a request apart.

    Raises:
        Refused: It is not of one of the forms, or holds something that cannot be used.
    """
    kind = request.headers.get('content-type', '').partition(';')[0].strip().lower()
    settings: dict[str, Any] = dict(request.query_params)
    pictures: list[Picture] = []
    if kind == 'multipart/form-data':
        pictures, fields = await _of_form(request)
        settings |= fields
    elif kind == 'application/json':
        content = await request.body()
        if sum(map(content.count, (b'[', b'{', b','))) > _MOST_PARTS:  # it would take gigabytes
            raise Refused(413, f'{_BODY} has more than {_MOST_PARTS:,} lists, objects and commas')
        try:
            given = await asyncio.to_thread(parse_json, content, _BODY, expected=_FORMS)
        except InputError as error:
            raise Refused(400, str(error)) from None
        if not isinstance(given, dict) or not isinstance(given.get('images'), list):
            raise Refused(400, f'{_BODY} has no list of images; {_FORMS}')
        pictures = [_of_json(i, image) for i, image in enumerate(given.pop('images'))]
        settings |= given
    elif kind in ('', 'application/octet-stream') or kind.startswith('image/'):
        pictures = [Picture(await request.body(), '')]
    else:
        raise Refused(415, f'the type {kind} is not taken; {_FORMS}')
    return _with_settings(pictures, settings, limits)


async def _of_form(request: Request) -> tuple[list[Picture], dict[str, str]]:
    pictures, fields = list[Picture](), dict[str, str]()
    try:
        _, options = parse_options_header(request.headers['content-type'])
        end = b'--' + options.get(b'boundary', b'') + b'--'
        if end not in (await request.body())[-1000:]:  # the parser does not mind
            raise Refused(400, f'{_BODY} is a form that ends too early; {_FORMS}')
        async with request.form(max_files=1000, max_fields=1000) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    name = (value.filename or '')[:_NAME]
                    pictures.append(Picture(await value.read(), name))
                else:
                    fields[name] = value
    except UnicodeError:
        raise Refused(400, f'{_BODY} is not in the character set that it names') from None
    return pictures, fields


def _of_json(index: int, image: Any) -> Picture:
    allowed = {'data', 'name', 'boxes'}
    if not isinstance(image, dict) or not isinstance(image.get('data'), str):
        raise Refused(400, f'image {index} has no text under "data"; expected base64')
    if unknown := set(image) - allowed:
        raise Refused(400, f'image {index} has {shown(sorted(unknown))}; expected {allowed}')
    try:
        content = base64.b64decode(image['data'], validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, f'the data of image {index} is not base64') from None
    return Picture(content, str(image.get('name') or '')[:_NAME], image.get('boxes'))


def _with_settings(pictures: list[Picture], given: Mapping[str, Any], limits: Limits) -> Sent:
    """Checks everything that can be checked before a picture is looked at."""
    settings = dict(given)
    if not any(picture.content for picture in pictures):
        raise Refused(400, f'the request holds no picture; {_FORMS}')
    if len(pictures) > limits.pictures:
        raise Refused(413, f'the request holds more than {limits.pictures} pictures; send fewer')
    if (boxes := settings.pop('boxes', None)) is not None:
        each = _boxes_of_text(boxes)
        if len(pictures) > 1 and each != WHOLE_IMAGE:
            if not isinstance(each, list) or len(each) != len(pictures):
                raise Refused(400, f'boxes must be a list of {len(pictures)}, one per picture')
            pictures = [replace(p, boxes=own) for p, own in zip(pictures, each, strict=True)]
        else:
            pictures = [replace(picture, boxes=each) for picture in pictures]
    model = settings.pop('model', None) or None
    if model is not None and not isinstance(model, str):
        raise Refused(400, f'model is {shown(model)}; expected a name')
    box_thr = _number('box_thr', settings.pop('box_thr', 0.3), LOWEST, 1)
    score_thr = _number('score_thr', settings.pop('score_thr', 0.0), 0, 2)
    if settings:
        known = 'boxes, box_thr, model, score_thr'
        raise Refused(400, f'there is no setting {shown(sorted(settings))}; expected {known}')
    return Sent(pictures, model, box_thr, score_thr)


def _boxes_of_text(boxes: Any) -> Any:
    if not isinstance(boxes, str) or boxes == WHOLE_IMAGE:
        return boxes
    expected = f'expected numbers or {WHOLE_IMAGE}'
    try:
        return parse_json(boxes.encode(errors='replace'), 'boxes', expected=expected)
    except InputError as error:
        raise Refused(400, str(error)) from None


def _number(name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float('nan')
    if isinstance(value, bool) or not low <= number <= high:
        raise Refused(400, f'{name} is {shown(value)}; expected a number from {low:g} to {high:g}')
    return number


def called(index: int, picture: Picture) -> str:
    """What messages and answers call a picture."""
    return f'image {index}' + (f' ({picture.name})' if picture.name else '')


def size_of(index: int, picture: Picture) -> tuple[int, int]:
    """Width and height that a picture says it has; no pixel is decoded."""
    try:
        with Image.open(io.BytesIO(picture.content), formats=FORMATS) as image:
            return image.size
    except Exception:  # a stranger's file can make Pillow raise anything
        raise Refused(
            415,
            f'{called(index, picture)} cannot be read as an image; it is damaged, or something '
            f'else: expected {", ".join(FORMATS)}',
        ) from None


def check_size(pictures: Sequence[Picture], sizes: list[tuple[int, int]], limits: Limits) -> int:
    """The pixels of all pictures, unless they are too many."""
    counts = [width * height for width, height in sizes]
    for index, count in enumerate([*counts, sum(counts)]):
        if count > limits.megapixels * 1e6:
            what, mend = 'the request', 'send smaller pictures, or fewer at once'
            if index < len(pictures):
                what, mend = called(index, pictures[index]), 'send a smaller picture'
            expected = f'expected at most {limits.megapixels:g}: {mend}'
            raise Refused(413, f'{what} has {count / 1e6:.1f} megapixels; {expected}')
    return sum(counts)


def decoded(
    index: int, picture: Picture, size: tuple[int, int], limits: Limits
) -> tuple[np.ndarray, Any]:
    """The pixels ``(h, w, 3)`` uint8 BGR of a picture of this size, and its boxes, both checked."""
    name, content = called(index, picture), picture.content
    try:
        if content[:2] == b'\xff\xd8':  # OpenCV shows grey where the rest of a JPEG is missing
            whole = _is_whole_jpeg(content)
        else:
            whole = True
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                image.load()
        pixels = decode_content(content) if whole else None
    except Exception:  # likewise
        pixels = None
    # OpenCV turns a picture as its Exif data say.
    if pixels is None or sorted(pixels.shape[:2]) != sorted(size):
        raise Refused(415, f'{name} is damaged or ends too early; save it again')
    try:
        check_item(index, Item(pixels))
    except InputError as error:
        raise Refused(400, str(error)) from None
    boxes = picture.boxes
    if boxes is None or (isinstance(boxes, str) and boxes == WHOLE_IMAGE):
        return pixels, boxes
    if not isinstance(boxes, list):
        what = f'the boxes of {name} are {shown(boxes)}'
        raise Refused(400, f'{what}; expected lists of x1 y1 x2 y2, or {WHOLE_IMAGE}')
    if len(boxes) > limits.people:
        raise Refused(413, f'{name} has {len(boxes)} boxes; expected at most {limits.people}')
    try:
        return pixels, check_boxes(boxes, None, pixels.shape[1::-1], name)[0]
    except InputError as error:
        raise Refused(400, str(error)) from None


def _is_whole_jpeg(content: bytes) -> bool:
    """Whether a JPEG has its end, and not so many scans that they take hours to decode."""
    place, scans = 2, 0
    while (found := _MARKER.search(content, place)) and scans <= _MOST_SCANS:
        kind, place = content[found.end() - 1], found.end()
        if kind == _END:
            return True
        if kind not in _ALONE:
            place += int.from_bytes(content[place : place + 2], 'big')
            scans += kind == _SCAN
    return False
