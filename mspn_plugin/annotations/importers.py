"""Labels of other tools: each kind is read into the one form that everything here works on.

COCO's keypoint files (CVAT, Roboflow, COCO Annotator and many more write them), YOLO-pose, and
Label Studio's JSON. A label file is a stranger's: pictures are looked for only below the folder
that was given, whatever a file says about where they are.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mspn.errors import InputError, listed
from mspn.json_files import is_number, read_json, shown
from mspn.media import IMAGE_SUFFIXES

from .image_files import upright_size
from .records import area_of

SPLITS = dict(train='train', training='train', val='val', valid='val', validation='val')
SPLITS |= dict(test='test', testing='test')
EXPECTED = (
    'a COCO keypoint file (CVAT, Roboflow, COCO Annotator), a folder with YOLO-pose labels and its '
    "data.yaml, Label Studio's JSON, or a folder that holds one of them with its pictures"
)
_COCO = 'a COCO keypoint file'
_MOST_FILES = 2_000_000
_MOST_YAML = 2**20  # bytes
_UPLOAD = re.compile(r'^[0-9a-f]{8}-')  # what Label Studio puts before the name of an upload


class LabelSet(NamedTuple):
    """The labels of one file or folder, as COCO's content; file names lead from the data's root."""

    split: str | None  # 'train', 'val', 'test', if its name says so
    place: Path
    content: dict[str, Any]
    swaps: list[int] | None = None  # index of each keypoint's mirror partner, if it is told
    said: str = ''  # what was left out


class Pictures:
    """All pictures below a folder, found by as much of a name as is right."""

    def __init__(self, root: Path, *, without: Path | None = None) -> None:
        self.root, self._by_name = root, collections.defaultdict[str, list[str]](list)
        seen, count = set[str](), 0
        for folder, inner, names in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen or _is_made(names) or (without and real == os.path.realpath(without)):
                inner.clear()
                continue
            seen.add(real)
            inner.sort()
            if (count := count + len(names)) > _MOST_FILES:
                raise InputError(f'{root} holds more than {_MOST_FILES:,} files; give a part of it')
            for name in sorted(names):
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and name[0] != '.':
                    path = os.path.relpath(os.path.join(folder, name), root)
                    self._by_name[name.lower()].append(path)

    def __len__(self) -> int:
        return sum(map(len, self._by_name.values()))

    def find(self, name: Any, near: str = '') -> str | None:
        """The path from the root of the picture that a label file calls so, or ``None``.

        Of several with the same last name it is the one at that very path, or else the one that
        agrees with most of the folders in `name`, and then with those of `near`; if that leaves
        several, it is none of them.
        """
        if not isinstance(name, str):
            return None
        alternatives = list[list[str]]()
        for parts in filter(None, (_folders(name), _parts(name))):
            alternatives += [parts, [*parts[:-1], _UPLOAD.sub('', parts[-1])]]
        for wanted in alternatives:
            found = self._by_name.get(wanted[-1].lower(), [])
            if whole := [path for path in found if path.split(os.sep) == wanted]:
                return whole[0]
        for wanted in alternatives:
            found = self._by_name.get(wanted[-1].lower(), [])
            found = [path for path in found if os.path.basename(path) == wanted[-1]] or found
            for folders in (wanted[:-1], _folders(near)):
                if len(found) > 1:
                    marks = [_agreement(path.split(os.sep)[:-1], folders) for path in found]
                    found = [p for p, m in zip(found, marks, strict=True) if m == max(marks)]
            if len(found) == 1:
                return found[0]
        return None


def read_labels(data: Path, *, without: Path | None = None) -> tuple[list[LabelSet], Pictures]:
    """Reads all labels in a file or folder, and finds their pictures.

    Args:
        data: A label file, whose folder then holds the pictures; or a folder.
        without: A folder to leave alone: the one that results are written to.

    Raises:
        InputError: There are no labels of a kind that is known, or some of them are malformed.
    """
    if not data.exists():
        raise InputError(f'{data} does not exist; give {EXPECTED}')
    if data.suffix.lower() in ('.zip', '.tar', '.gz', '.7z', '.rar'):
        raise InputError(f'{data} is an archive; unpack it first, and give the folder')
    root = data if data.is_dir() else data.parent
    pictures = Pictures(root, without=without)
    if not len(pictures):
        raise InputError(
            f'{root} holds no pictures; give the folder that holds both labels and pictures'
        )
    if data.is_dir():
        if yamls := [p for p in sorted(data.glob('*.y*ml')) if p.suffix in ('.yaml', '.yml')]:
            for path in yamls:
                if 'kpt_shape' in (settings := _read_yaml(path)):
                    return list(_yolo(path, settings, pictures)), pictures
        files = list(_files(data, '.json', without))
    elif data.suffix.lower() in ('.yaml', '.yml'):
        return list(_yolo(data, _read_yaml(data), pictures)), pictures
    else:
        files = [data]
    sets, passed = list[LabelSet](), list[str]()
    for path in files:
        content = read_json(path, 'the label file', expected=EXPECTED, mark=True)
        if label_set := _known(path, content, pictures):
            sets.append(label_set)
        else:
            passed.append(path.name)
    if not sets:
        what = f'the files there ({listed(passed, 3)}) are none' if passed else 'there is none'
        raise InputError(f'{data} holds no labels that are known: {what}; expected {EXPECTED}')
    return sets, pictures


def _known(path: Path, content: Any, pictures: Pictures) -> LabelSet | None:
    """The labels in what a JSON file holds, if it is of a kind that is known and has keypoints."""
    where = path.relative_to(pictures.root)
    if isinstance(content, dict):
        if not all(isinstance(content.get(part), list) for part in ('images', 'annotations')):
            return None
        categories = content.get('categories')
        content = {**content, 'categories': categories if isinstance(categories, list) else []}
        records = [*content['categories'], *content['annotations']]
        if not any(isinstance(record, dict) and 'keypoints' in record for record in records):
            return None
        return LabelSet(split_of(where), path, content)
    if isinstance(content, list) and content and all(isinstance(task, dict) for task in content):
        if any(True for task in content for _ in _regions(task)):
            content, said = _label_studio(path, content, pictures)
            return LabelSet(split_of(where), path, content, said=said)
    return None


def near_of(place: Path, root: Path) -> str:
    """Where the pictures of a label file may be: in folders named as its own, or as it is."""
    return f'{place.relative_to(root).parent}/{re.sub("[_-]", "/", place.stem)}'


def split_of(path: Path) -> str | None:
    """What of training, validation and test the words in a path say; the last one counts."""
    words = re.findall('[a-z]+', str(path.with_suffix('')).lower().replace('_', ' '))
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), None)


def _is_made(names: Sequence[str]) -> bool:
    """Whether a folder with these names in it is one that `mspn new` has made."""
    return {'metainfo.py', 'start.safetensors', 'config.py'} <= set(names)


def _files(root: Path, suffix: str, without: Path | None) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if name[0] != '.')
        if _is_made(names) or (without and os.path.realpath(folder) == os.path.realpath(without)):
            inner.clear()
            continue
        if Path(folder).relative_to(root).parts[3:]:
            inner.clear()
        for name in sorted(names):
            if name.lower().endswith(suffix) and name[0] != '.':
                yield Path(folder) / name


def _folders(name: str) -> list[str]:
    """The folders and the name in a path, of some system, letter by letter."""
    return [part for part in name.replace('\\', '/').split('/') if part not in ('', '.', '..')]


def _parts(name: str) -> list[str]:
    """The folders and the name in a path or an address that some tool wrote, on some system."""
    text = name.replace('\\', '/')
    if '://' in text or text.startswith('/data/'):  # Label Studio: an address, or a file by query
        with contextlib.suppress(ValueError):  # it only looks like an address
            split = urllib.parse.urlsplit(text)
            text = dict(urllib.parse.parse_qsl(split.query)).get('d', split.path)
    return _folders(urllib.parse.unquote(text) if re.search('%[0-9a-fA-F]{2}', text) else text)


def _agreement(folders: Sequence[str], wanted: Sequence[str]) -> int:
    """How many of the last folders agree, or else how many occur in both."""
    backwards = zip(reversed(folders), reversed(wanted), strict=False)
    last = next((i for i, (a, b) in enumerate(backwards) if a.lower() != b.lower()), None)
    equal = min(len(folders), len(wanted)) if last is None else last
    return 100 * equal + len({f.lower() for f in folders} & {w.lower() for w in wanted})


# YOLO-pose: data.yaml, and beside each picture's folder images/ one labels/ with a text file each.


class _Loader(yaml.SafeLoader):
    """YAML without aliases, by which a small file can stand for one without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError('it has an alias, which no data.yaml needs')
        return super().compose_node(parent, index)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():  # nor a device or a pipe, which may have no end
            raise InputError(f'{path} is no file; expected a data.yaml')
        if path.stat().st_size > _MOST_YAML:
            raise InputError(f'{path} has more than {_MOST_YAML:,} bytes; expected a data.yaml')
        loader = _Loader(path.read_text(encoding='utf-8-sig'))
        try:
            content = loader.get_single_data()
        finally:
            loader.dispose()
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        text = ' '.join(str(error).split())[:200]
        raise InputError(f'{path} cannot be read as YAML ({text}); expected a data.yaml') from error
    return content if isinstance(content, dict) else {}


def _yolo(path: Path, settings: Mapping[str, Any], pictures: Pictures) -> Iterator[LabelSet]:
    shape = settings.get('kpt_shape')
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(type(n) is int for n in shape)
        and 0 < shape[0] < 10_000
        and shape[1] in (2, 3)
    ):
        raise InputError(
            f'{path} has the kpt_shape {_brief(shape)}; expected the number of keypoints and 2 or '
            '3 values of each, as [17, 3]'
        )
    given = settings.get('names', ['object'])
    given = [given] if isinstance(given, str) else given
    classes: Any = given.items() if isinstance(given, dict) else ()
    classes = enumerate(given) if isinstance(given, list) else classes
    names = {int(key): str(name) for key, name in classes if str(key).isdecimal()}
    if not names:
        raise InputError(f'{path} has the names {_brief(given)}; expected the names of the classes')
    points = settings.get('kpt_names')  # of all classes, or a dictionary with those of each
    if isinstance(points, dict):
        points = {str(key): value for key, value in points.items()}
    else:
        points = dict.fromkeys(map(str, names), points)
    swaps = settings.get('flip_idx')
    if swaps is not None and (
        not isinstance(swaps, list) or sorted(map(str, swaps)) != sorted(map(str, range(shape[0])))
    ):
        raise InputError(
            f'{path} has the flip_idx {_brief(swaps)}; expected all from 0 to {shape[0] - 1}'
        )
    categories = [dict(id=i + 1, name=name) for i, name in sorted(names.items())]
    for i, category in zip(sorted(names), categories, strict=True):
        if isinstance(its := points.get(str(i)), list):
            category['keypoints'] = its
    sets, absent, folder = list[LabelSet](), list[str](), path.parent
    if isinstance(base := settings.get('path'), str):
        inner = folder.joinpath(*_folders(base))
        folder = inner if os.path.isdir(inner) else folder
    for key, split in (('train', 'train'), ('val', 'val'), ('test', 'test')):
        entries = settings.get(key)
        content = dict(images=[], annotations=[], categories=categories)
        lost, members = list[str](), dict[str, None]()
        for entry in entries if isinstance(entries, list) else filter(None, [entries]):
            before = len(members) + len(lost)
            members.update(dict.fromkeys(_yolo_pictures(folder, str(entry), pictures, lost)))
            if len(members) + len(lost) == before:
                absent.append(f'{key}: {entry}')
        for name in members:
            _add_yolo(content, pictures.root, name, shape, set(names))
        if lost:
            absent.append(f'{len(lost)} listed pictures of {key}: {listed(lost, 3)}')
        if members:
            sets.append(LabelSet(split, path, content, [*map(int, swaps)] if swaps else None))
    if absent and sets:
        sets[0] = sets[0]._replace(said=f'nothing is there of {"; ".join(absent)}')
    yield from sets
    if not sets:
        raise InputError(
            f'{path} names no folder below {path.parent} that holds pictures (train: '
            f'{_brief(settings.get("train"))}, val: {_brief(settings.get("val"))}); correct them'
        )


def _yolo_pictures(folder: Path, entry: str, pictures: Pictures, lost: list[str]) -> Iterator[str]:
    """The pictures of a folder, or those that a text file lists; what is not there is `lost`.

    An absolute path may be that of another machine: then its last parts, two at least, count.
    """
    wanted = _folders(entry)
    most = len(wanted) - 1 if entry.replace('\\', '/').startswith('/') or ':' in entry else 1
    for start in range(max(most, 1)):
        inner = folder.joinpath(*wanted[start:])
        if os.path.isfile(inner) and inner.suffix == '.txt':  # the path may be too long for one
            for line in _lines(inner):
                if name := pictures.find(line):
                    yield name
                else:
                    lost.append(line)
            return
        if os.path.isdir(inner):
            for place, deeper, names in os.walk(inner):
                deeper.sort()
                for name in sorted(names):
                    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and name[0] != '.':
                        yield os.path.relpath(os.path.join(place, name), pictures.root)
            return


def _brief(value: Any) -> str:
    """A value of a YAML file for a message: it may be anything."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = f'a {type(value).__name__} of very many digits'
    return text if len(text) <= 60 else f'{text[:57]}...'


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > 200 * _MOST_YAML:
            raise InputError(f'{path} is too large for a list of pictures or labels')
        return [line for line in path.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path} cannot be read as text ({error})') from error


def _add_yolo(
    content: dict[str, Any], root: Path, name: str, shape: Sequence[int], classes: set[int]
) -> None:
    """Adds a picture and its people to a content."""
    header = upright_size(root / name)
    if header is None:
        raise InputError(f'the picture {root / name} cannot be read; take it out, or mend it')
    (width, height), number = header[0], len(content['images']) + 1
    content['images'].append(dict(id=number, file_name=name, width=width, height=height))
    labels, before = _label_file(root, name), set[str]()
    for line, text in enumerate(_lines(labels), 1) if labels else ():
        if text in before:  # Ultralytics leaves them out as well
            continue
        before.add(text)
        values = text.split()
        try:
            kind, *numbers = (float(value) for value in values)
        except ValueError:
            kind, numbers = -1.0, []
        expected = 4 + shape[0] * shape[1]
        where = f'line {line} of {labels}'
        if len(numbers) != expected or kind not in classes or not all(map(is_number, numbers)):
            raise InputError(
                f'{where} is {shown(text)}; expected a class of {_brief(sorted(classes))} and '
                f'{expected} numbers: the box, and {shape[1]} for each of {shape[0]} keypoints'
            )
        if max(numbers) > 2:  # of a visibility
            raise InputError(
                f'{where} has the number {max(numbers):g}; expected parts of the picture'
            )
        x, y, w, h = numbers[:4]
        if shape[1] == 3 and set(numbers[6::3]) - {0, 1, 2}:
            odd = next(flag for flag in numbers[6::3] if flag not in (0, 1, 2))
            raise InputError(f'{where} has the visibility {odd:g}; expected 0, 1 or 2')
        box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
        points = list[float]()
        for i in range(4, len(numbers), shape[1]):
            px, py = numbers[i : i + 2]
            seen = numbers[i + 2] if shape[1] == 3 else 2 * (px > 0 or py > 0)
            points += (
                [round(px * width, 2), round(py * height, 2), int(seen)] if seen else [0, 0, 0]
            )
        box = [round(value, 2) for value in box]
        person = dict(image_id=number, category_id=int(kind) + 1, bbox=box, keypoints=points)
        person |= dict(id=len(content['annotations']) + 1, iscrowd=0)
        person['area'] = area_of(box, (width, height))
        content['annotations'].append(person)


def _label_file(root: Path, picture: str) -> Path | None:
    """Where YOLO's labels of a picture are: labels/ in place of the last images/, or beside it."""
    parts = Path(picture).parts
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == 'images':
            inner = Path(*parts[:index], 'labels', *parts[index + 1 :])
            if (other := (root / inner).with_suffix('.txt')).is_file():
                return other
            break
    beside = (root / picture).with_suffix('.txt')
    return beside if beside.is_file() else None


# Label Studio: tasks with regions, whose places are per cent of the picture.


def _label_studio(
    path: Path, tasks: Sequence[dict[str, Any]], pictures: Pictures
) -> tuple[dict[str, Any], str]:
    """COCO's content, and what was left out."""
    names = dict[str, int]()
    images, people, skipped, lost, nameless = list[Any](), list[Any](), 0, 0, 0
    several = sum(len(_annotations_of(task) or ()) > 1 for task in tasks)
    for task in tasks:
        if (file := _picture_of(task)) is None:
            nameless += 1
            continue
        regions = list(_regions(task))
        found = pictures.find(file, near_of(path, pictures.root))
        image = dict(id=len(images) + 1, file_name=file, **_size_of(regions, found, pictures))
        boxes = [region for region in regions if region['labels_of'] == 'rectangle']
        points = [region for region in regions if region['labels_of'] == 'keypoint']
        for name in (point['label'] for point in points):
            names.setdefault(name, len(names))
        size = image.get('width', 100), image.get('height', 100)
        if (groups := _grouped(boxes, points, size)) is None:
            skipped += 1
            continue
        images.append(image)
        lost += len(points) - sum(len(its) for _, its in groups)
        people += [(image, box, its) for box, its in groups]
    why = 'have several keypoints of one name, which cannot be told apart without rectangles'
    if skipped and not people:
        raise InputError(
            f'{path}: all {skipped} pictures {why}; draw one around each person or animal'
        )
    if not names:
        raise InputError(f'{path} holds no keypoints; expected regions of keypointlabels')
    labels = list(dict.fromkeys(box['label'] for _, box, _ in people if box))
    labels += [] if len(labels) == 1 or all(box for _, box, _ in people) else ['object']
    kinds = {label: number for number, label in enumerate(labels, 1)}
    annotations = list[dict[str, Any]]()
    for image, box, its in people:
        width, height = image.get('width', 100), image.get('height', 100)
        keypoints = [0.0, 0.0, 0] * len(names)
        for point in its:
            i = 3 * names[point['label']]
            keypoints[i : i + 3] = [point['x'] * width / 100, point['y'] * height / 100, 2]
        kind = kinds[box['label']] if box else kinds.get('object', 1)
        person = dict(image_id=image['id'], category_id=kind, keypoints=keypoints, iscrowd=0)
        if box:
            person['bbox'] = _upright(box, width, height)
            person['area'] = area_of(person['bbox'], (width, height))
        annotations.append(dict(person, id=len(annotations) + 1, bbox=person.get('bbox')))
    categories = [dict(id=i, name=name, keypoints=list(names)) for name, i in kinds.items()]
    content = dict(images=images, annotations=annotations, categories=categories)
    said = [f'{skipped} pictures {why}, left out'] if skipped else []
    said += [f'{lost} keypoints are in no rectangle or twice in one, left out'] if lost else []
    if nameless:
        said.append(f'{nameless} tasks name no picture of a known kind, left out')
    if several:
        said.append(
            f'{several} pictures have labels of several annotators; taken is the ground truth, or '
            'else the last'
        )
    return content, '; '.join(said)


def _size_of(
    regions: Sequence[dict[str, Any]], found: str | None, pictures: Pictures
) -> dict[str, Any]:
    """Width and height of a picture as its regions say, or else as it is."""
    for region in regions:
        width, height = region.get('original_width'), region.get('original_height')
        if all(is_number(side) and float(side or 0) > 0 for side in (width, height)):
            return dict(width=width, height=height)
    header = upright_size(pictures.root / found) if found else None
    return dict(width=header[0][0], height=header[0][1]) if header else {}


def _upright(box: Mapping[str, Any], width: float, height: float) -> list[float]:
    """x, y, width, height in pixels around a rectangle, which may be turned about its corner."""
    x, y = box['x'] * width / 100, box['y'] * height / 100
    w, h = box['width'] * width / 100, box['height'] * height / 100
    cos, sin = math.cos(_angle(box)), math.sin(_angle(box))
    corners = [(x + a * cos - b * sin, y + a * sin + b * cos) for a in (0, w) for b in (0, h)]
    (x1, y1), (x2, y2) = map(min, zip(*corners, strict=True)), map(max, zip(*corners, strict=True))
    return [round(number, 2) for number in (x1, y1, x2 - x1, y2 - y1)]


def _picture_of(task: Mapping[str, Any]) -> str | None:
    """The address of a task's picture: the first text in its data that ends as a picture does."""
    data = task.get('data')
    for value in (data if isinstance(data, dict) else task).values():
        if isinstance(value, str) and (parts := _parts(value)):
            if os.path.splitext(parts[-1])[1].lower() in IMAGE_SUFFIXES:
                return value
    return None


def _regions(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The keypoints and rectangles of a task, in both of Label Studio's forms of JSON."""
    if (given := _annotations_of(task)) is not None:
        right = [a for a in given if a.get('ground_truth') is True]
        for region in (right or given)[-1]['result'] if given else ():
            if isinstance(region, dict) and isinstance(region.get('value'), dict):
                yield from _region({**region['value'], **_without(region, 'value')})
    else:  # JSON-MIN: a list for each tool
        for regions in task.values():
            for region in regions if isinstance(regions, list) else ():
                if isinstance(region, dict):
                    yield from _region(region)


def _annotations_of(task: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """What annotators have made of a task, where there is something; ``None`` in JSON-MIN."""
    given = task.get('annotations') or task.get('completions')
    if not isinstance(given, list):
        return None
    kept = [a for a in given if isinstance(a, dict) and not a.get('was_cancelled')]
    return [a for a in kept if isinstance(a.get('result'), list) and a['result']]


def _without(record: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def _region(region: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, needed in (('keypoint', 'x y'), ('rectangle', 'x y width height')):
        labels = region.get(f'{kind}labels')
        if isinstance(labels, list) and labels and isinstance(labels[0], str):
            if all(is_number(region.get(key)) for key in needed.split()):
                yield {**region, 'labels_of': kind, 'label': labels[0]}


def _grouped(
    boxes: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]], size: tuple[float, float]
) -> list[tuple[Any, list[Any]]] | None:
    """Each box with its keypoints: by their parent, or because they are inside; ``None`` if not so.

    Without boxes all keypoints of a picture are of one, if none of them is there twice. A keypoint
    inside several goes to the smallest that lacks it, after those that are inside fewer.
    """
    if not boxes:
        if not points:
            return []
        labels = [point['label'] for point in points]
        return [(None, list(points))] if len(set(labels)) == len(labels) else None
    its: list[list[Any]] = [[] for _ in boxes]
    by_id = {box['id']: i for i, box in enumerate(boxes) if isinstance(box.get('id'), str)}
    homes = list[tuple[list[int], Any]]()
    for point in points:
        parent = by_id.get(str(point.get('parentID')))
        inside = [i for i, box in enumerate(boxes) if _is_inside(point, box, size)]
        homes.append((inside if parent is None else [parent], point))
    for inside, point in sorted(homes, key=lambda home: len(home[0])):
        free = [i for i in inside if point['label'] not in {p['label'] for p in its[i]}]
        if free:
            its[min(free, key=lambda i: boxes[i]['width'] * boxes[i]['height'])].append(point)
    return list(zip(boxes, its, strict=True))


def _is_inside(point: Mapping[str, Any], box: Mapping[str, Any], size: tuple[float, float]) -> bool:
    """Whether a keypoint is in a rectangle, which may be turned, or a per cent of it outside."""
    x, y = ((point[k] - box[k]) * side / 100 for k, side in zip('xy', size, strict=True))
    angle = _angle(box)
    across = (x * math.cos(angle) + y * math.sin(angle)) * 100 / size[0]
    down = (y * math.cos(angle) - x * math.sin(angle)) * 100 / size[1]
    return bool(-1 <= across <= box['width'] + 1 and -1 <= down <= box['height'] + 1)


def _angle(box: Mapping[str, Any]) -> float:
    return math.radians(box['rotation'] if is_number(box.get('rotation')) else 0)
