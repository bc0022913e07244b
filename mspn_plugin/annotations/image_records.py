"""Checks of the image records of a COCO file, one by one and against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mspn.json_files import shown

from .problems import Problem

_LARGEST = 2**31  # pixels on a side, and far above what any decoder reads


def file_name_problem(name: Any) -> str | None:
    """Why a file name of an annotation file cannot be used, or ``None``.

    A name is joined to the image folder. One that is absolute or climbs out with ``..`` would let
    the file of somebody else choose what is read on this machine.

    Args:
        name: The value of ``file_name``.
    """
    if not isinstance(name, str) or not name or '\0' in name:
        return f'has the file name {shown(name)}; expected the name of an image'
    try:
        name.encode()
    except UnicodeEncodeError:
        return f'has the file name {shown(name)}, which is no Unicode text'
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    if absolute or '..' in name.replace('\\', '/').split('/'):
        return f'has the file name {shown(name)}, which leaves the image folder; expected one in it'
    return None


def is_id(value: Any) -> bool:
    """Whether a value is an id as COCO's tools take it: an integer of 64 bits, and no bool."""
    return type(value) is int and -(2**63) <= value < 2**63


def image_problems(image: Any, index: int) -> Iterator[Problem]:
    """What is wrong with an image record by itself.

    Args:
        image: The record.
        index: Its place in the list, from 0.
    """
    kind = 'image-record'
    if not isinstance(image, dict):
        yield Problem(kind, f'image record {index}', f'is {shown(image)}; expected an object')
        return
    name = image_name(image, index)
    if not is_id(image.get('id')):
        yield Problem(kind, name, f'has the id {shown(image.get("id"))}; expected an integer')
    if text := file_name_problem(image.get('file_name')):
        yield Problem(kind, name, text)
    for key in ('width', 'height'):
        value: Any = image.get(key)
        if type(value) not in (int, float) or not 0 < value < _LARGEST or value % 1:
            yield Problem(kind, name, f'has the {key} {shown(value)}; expected pixels')


def image_name(image: dict[str, Any], index: int) -> str:
    """What to call an image record in a message."""
    return f'image {shown(image["id"])}' if 'id' in image else f'image record {index}'


def doubled_images(images: list[Any]) -> Iterator[Problem]:
    """Names image records whose id or file name another one has before them.

    Args:
        images: All records.
    """
    ids: set[Any] = set()
    files: set[str] = set()
    for index, image in enumerate(images):
        if not isinstance(image, dict):
            continue
        number, file = image.get('id'), image.get('file_name')
        if is_id(number):
            if number in ids:
                text = f'is in the list again as number {index}, with the file {shown(file)}'
                yield Problem('duplicate-image-id', image_name(image, index), text)
            ids.add(number)
        if isinstance(file, str):
            if file in files:
                text = f'has the file name {shown(file)} of another image'
                yield Problem('duplicate-file-name', image_name(image, index), text)
            files.add(file)
