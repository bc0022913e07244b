"""Very many pictures on many machines, with Ray: `mspn predict SOURCE --engine ray --out FOLDER`.

The source is a folder of pictures, or of Parquet files that hold them, on any file system that
Arrow reaches: a path, ``s3://``, ``gs://``, ``hdfs://``. It is divided into shards, and each
becomes one Parquet file of the output, which appears when it is complete. A run that was ended, or
has lost workers, does what is missing when the same command is given again.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import logging
import os
import posixpath
import re
import socket
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from .batches import Item, ahead, check_item
from .cli import refuse_others
from .errors import InputError, MissingPackage, is_text, listed, printable
from .media import IMAGE_SUFFIXES, decode_content
from .models import POSE, default_detector, light_file
from .poses import People, names_of
from .progress import Progress
from .runtime import Predictor
from .version import __version__

_PLAN = '_plan.parquet'  # in the output: which pictures make which shard, and the settings
_PART = re.compile(r'part-\d{6,}\.parquet')
_READERS = 4  # threads of a worker that fetch pictures
_PAUSES = (1, 5, 20)  # seconds before a file system that has failed is asked again
_MOST_PIXELS = 2**27  # of one picture, and about of all that a worker looks at; 0.4 GB
_PART_BYTES, _MOST_PARTS = 2**23, 32  # of the file of a picture
_MOST_BLOCKS = 10_000  # tasks that Ray has to know of; each may hold many shards
_MOST_DEATHS = 3  # of workers, after which their shard is left for another run
_ABSENT = (FileNotFoundError, IsADirectoryError, PermissionError)  # nothing to wait for
# Of `mspn predict`: what has a meaning here.
_OPTIONS = 'bbox_thr detector device engine input model nms_thr oks_thr out score_thr shard_size '
_OPTIONS += 'whole_image workers batch_size'


def run(args: argparse.Namespace) -> None:
    """Divides the source into shards, and has those done that are missing."""
    try:
        import pyarrow
        import ray
    except ImportError as error:
        raise MissingPackage(
            '--engine ray needs what `pip install "mspn_plugin[cluster]"` installs '
            f'({error.name} is missing)'
        ) from error
    refuse_others(args, _OPTIONS, '--engine ray')
    if not args.out:
        raise InputError('--engine ray needs --out, a folder or an address for the Parquet files')
    device = (args.device or 'cpu').partition(':')[0]  # Ray gives each worker a GPU of its own
    options = dict(device=device, threads=1, batch_size=args.batch_size, oks_thr=args.oks_thr)
    options |= dict(score_thr=args.score_thr, box_thr=args.bbox_thr, nms_thr=args.nms_thr)
    files = _model_files(args, options)
    try:
        plan = _Plan(args.input, args.out, args.shard_size, _settings(args, files))
        missing = plan.missing()
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f'{args.out} cannot be used: {error}; give another --out') from error
    done = len(plan.shards) - len(missing)
    print(f'{len(plan.shards)} shards, of which {done} are done', flush=True)
    if not missing:
        return
    _start(ray)
    kind = 'CPU' if device == 'cpu' else 'GPU'
    workers = args.workers or int(ray.cluster_resources().get(kind, 0))
    if not workers or (kind == 'GPU' and not ray.cluster_resources().get(kind)):
        raise InputError(f'the cluster has no {kind}; give another --device, or add a machine')
    shards = [dict(shard=number, paths=plan.shards[number]) for number in missing]
    worker, models = cast(Any, _Worker), ray.put(files)
    results = ray.data.from_items(shards, override_num_blocks=min(len(shards), _MOST_BLOCKS)).map(
        worker,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(shards))),
        num_cpus=1,
        num_gpus=int(kind == 'GPU'),
        max_restarts=-1,
        max_task_retries=_MOST_DEATHS,
        fn_constructor_args=[plan.place, models, options, args.whole_image],
    )
    failed, problems, pictures = list[str](), list[str](), 0
    in_files = plan.shards[0][0].endswith('.parquet')  # of how many pictures, nobody knows
    total = None if in_files else sum(len(plan.shards[number]) for number in missing)
    with Progress(total, 'pictures') as bar:
        for result in results.iter_rows():
            for people in result['people']:
                bar.add(int(people))
            failed += result['failed']
            problems += [result['problem']] * bool(result['problem'])
            pictures += len(result['people'])
    if failed:
        names = printable(listed(failed))
        print(f'{len(failed)} could not be used, and their rows say why: {names}')
    if missing := plan.missing():
        why = problems[0] if problems else 'their workers have died'
        raise InputError(
            f'{len(missing)} of {len(plan.shards)} shards are missing ({why}); what is done stays '
            f'in {args.out}, and the same command goes on from there'
        )
    if pictures and len(failed) == pictures:
        raise InputError(f'none of the {pictures} pictures could be used; the rows say why')
    print(f'written: {args.out}')


def _start(ray: Any) -> None:
    """Joins the cluster that RAY_ADDRESS names, or starts one on this machine."""
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    variables = dict(OPENCV_IO_MAX_IMAGE_PIXELS=str(_MOST_PIXELS), OMP_NUM_THREADS='1')
    common: Any = dict(runtime_env=dict(env_vars=variables), log_to_driver=False)
    common['logging_level'] = 'ERROR'
    address = os.environ.get('RAY_ADDRESS') or 'local'  # nobody else's, which ends with them
    if address == 'local':
        common |= dict(include_dashboard=False, object_store_memory=2**28)
    try:
        ray.init(address=address, **common)
    except ConnectionError as error:
        raise InputError(
            f'there is no Ray cluster at {address}, which RAY_ADDRESS names; start it, or unset it'
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a shard that fails is no reason to end the others
    for name in ('ray', 'ray.data'):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _model_files(args: argparse.Namespace, options: dict[str, Any]) -> dict[str, bytes]:
    """The ONNX files with their weights, which travel to the workers; all of them can be used."""
    options = options | dict(device='cpu')
    files = _with_weights('pose', args.model or [POSE])
    detector = args.detector
    if not (detector or args.whole_image):
        detector = [str(default_detector(names_of(_predictor(files, options).meta)))]
    if detector:
        others = _with_weights('detector', detector)
        if same := [name for name in others if files.get(name, others[name]) != others[name]]:
            raise InputError(
                f'the pose model and the detector each have a file of their own named {same[0]}; '
                'export one of them again with another name for --weights'
            )
        files |= others
    _predictor(files, options)  # here a sentence says what is wrong
    return files


def _with_weights(kind: str, words: list[str]) -> dict[str, bytes]:
    path = light_file(words, kind, '--engine ray')
    if not path.is_file():
        raise InputError(f'{path} does not exist; expected a file of `mspn export`')
    files = {f'{kind}.onnx': path.read_bytes()}
    for beside in path.parent.glob('*.safetensors'):  # to which the file refers
        if beside.name.encode() in files[f'{kind}.onnx']:
            files[beside.name] = beside.read_bytes()
    return files


def _predictor(files: dict[str, bytes], options: dict[str, Any]) -> Predictor:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        paths: Any = {n[:-5]: Path(folder, n) for n in files if n.endswith('.onnx')}
        return Predictor(**paths, **options)


def _settings(args: argparse.Namespace, files: dict[str, bytes]) -> dict[str, Any]:
    """What the results depend on."""
    digests = {kind: hashlib.sha256(content).hexdigest() for kind, content in files.items()}
    names = ('score_thr', 'bbox_thr', 'nms_thr', 'oks_thr', 'whole_image')
    return digests | {name: getattr(args, name) for name in names}


class _Place:
    """A folder on a file system that Arrow reaches."""

    def __init__(self, address: str) -> None:
        from pyarrow import fs

        self.address = address if '://' in address else str(Path(address).resolve())
        try:
            self.files, root = fs.FileSystem.from_uri(self.address)
        except (OSError, ValueError) as error:
            raise InputError(f'{address} cannot be reached: {error}') from error
        self.root: str = root.rstrip('/')
        self.is_local = self.files.type_name == 'local'

    def listed(self) -> dict[str, int]:
        """The files in it and below, from its root, and their sizes; but for hidden ones."""
        from pyarrow import fs

        found = dict[str, int]()
        try:
            if self.is_local:  # Arrow would go round in links for ever
                for folder, files in _walked(self.root):
                    for name in files:
                        path = os.path.join(folder, name)
                        found[path] = os.path.getsize(path) if os.path.isfile(path) else -1
            else:
                for each in self.files.get_file_info(fs.FileSelector(self.root, recursive=True)):
                    found[each.path] = each.size if each.is_file else -1
        except OSError as error:
            raise InputError(f'{self.address} cannot be listed: {error}') from error
        start = len(self.root) + 1
        names = {path[start:]: size for path, size in sorted(found.items()) if size >= 0}
        return {name: size for name, size in names.items() if '/.' not in f'/{name}'}

    def path(self, name: str) -> str:
        """A file in it."""
        return f'{self.root}/{name}'

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        found = self.files.get_file_info(self.path(name))
        return bool(found.is_file and found.size)  # a power failure may leave an empty one

    def read(self, name: str) -> bytes:
        """A file's content."""
        with self.files.open_input_stream(self.path(name)) as stream:
            parts = [*itertools.islice(iter(lambda: stream.read(_PART_BYTES), b''), _MOST_PARTS)]
            if stream.read(1):
                raise InputError(f'it has more than {_MOST_PARTS * _PART_BYTES / 1e6:.0f} MB')
        return b''.join(parts)

    def write(self, name: str, table: Any) -> None:
        """Writes a Parquet file that is complete as soon as it is there."""
        from pyarrow import parquet

        # An object of a store appears when its stream is closed; elsewhere a file is moved there.
        moved = self.files.type_name in ('local', 'hdfs')
        place = self.path(f'_{name}.{uuid.uuid4().hex}.partial' if moved else name)
        if moved:
            self.files.create_dir(self.root, recursive=True)
        parquet.write_table(table, place, filesystem=self.files, compression='zstd')
        if moved:
            self.files.move(place, self.path(name))


def _walked(root: str) -> Iterator[tuple[str, list[str]]]:
    """Every folder below one, and its files; one that links lead to again is left out."""
    seen = set[str]()

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, followlinks=True, onerror=fail):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            if not is_text(name):
                raise InputError(f'{folder} holds {ascii(name)}, which is not UTF-8; rename it')
        yield folder, files


def _patiently(call: Any) -> Any:
    """What a call returns; it is made again if a file system fails for a while."""
    for pause in _PAUSES:
        try:
            return call()
        except _ABSENT:
            raise
        except OSError:
            time.sleep(pause)
    return call()


class _Plan:
    """Which pictures make which shard; it is kept in the output, so that no later run differs."""

    def __init__(self, source: str, out: str, shard_size: int, settings: dict[str, Any]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.source, self.out = _Place(source), _Place(out)
        self.place = (self.source.address, self.out.address)
        self.shards: list[list[str]] = []
        if self.out.files == self.source.files and f'{self.out.root}/'.startswith(
            f'{self.source.root}/'
        ):
            raise InputError(f'{out} would lie in {source}, which it comes from; write elsewhere')
        settings = dict(settings, source=self.source.address)
        if self.out.has(_PLAN):
            table = parquet.read_table(self.out.path(_PLAN), filesystem=self.out.files)
            before = json.loads(table.schema.metadata[b'mspn'])
            keys = sorted({*settings, *before})
            if other := [key for key in keys if settings.get(key) != before.get(key)]:
                raise InputError(
                    f'{out} holds results of a run with other settings ({", ".join(other)}); write '
                    'to another folder'
                )
            self.shards = table['paths'].to_pylist()
        known = {path for paths in self.shards for path in paths}
        new = [name for name in _wanted(self.source) if name not in known]
        if new:
            size = 1 if new[0].endswith('.parquet') else shard_size
            self.shards += [new[i : i + size] for i in range(0, len(new), size)]
            table = pa.table(dict(paths=pa.array(self.shards, pa.list_(pa.string()))))
            metadata = dict(mspn=json.dumps(settings))
            self.out.write(_PLAN, table.replace_schema_metadata(metadata))

    def missing(self) -> list[int]:
        """The numbers of the shards that are not done."""
        there = {name for name, size in self.out.listed().items() if size and _PART.fullmatch(name)}
        return [n for n in range(len(self.shards)) if _part(n) not in there]


def _wanted(source: _Place) -> list[str]:
    names = list(source.listed())
    pictures = [name for name in names if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES]
    tables = [name for name in names if name.endswith('.parquet') and '/_' not in f'/{name}']
    if bool(pictures) == bool(tables):
        what = 'both pictures and Parquet files' if tables else 'neither pictures nor Parquet files'
        raise InputError(f'{source.address} holds {what}; give a folder of one of the two')
    return pictures or tables


def _part(number: int) -> str:
    return f'part-{number:06d}.parquet'


class _Worker:
    """Does shards, in a process of its own.

    Args:
        place: The addresses of the source and of the output.
        files: The ONNX files and their weights, as Ray's reference.
        options: Of a `Predictor`.
        whole_image: Whether each picture is one person.
    """

    def __init__(
        self,
        place: tuple[str, str],
        files: Any,
        options: dict[str, Any],
        whole_image: bool,
    ) -> None:
        import ray

        cv2.setNumThreads(1)
        self._source, self._out = map(_Place, place)
        self._boxes = 'whole_image' if whole_image else None
        self._predictor = _predictor(ray.get(files), options)
        self._names = names_of(self._predictor.meta)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does a shard, unless it is done; says how many people each picture has."""
        name, rows, problem = _part(row['shard']), list[dict[str, Any]](), ''
        try:
            if not _patiently(lambda: self._out.has(_PLAN)):  # a folder of another machine
                problem = f'{socket.gethostname()} does not see {self._out.address}'
            elif not _patiently(lambda: self._out.has(name)):
                rows = _patiently(lambda: self._rows(list(row['paths'])))
                _patiently(lambda: self._out.write(name, self._table(rows)))
        except Exception as error:  # of a file system or the network: the driver says it
            rows, problem = [], f'{type(error).__name__}: {error}'
        return dict(
            people=[len(each['people']) for each in rows],
            failed=[each['path'] for each in rows if each['error']],
            problem=problem,
        )

    def _rows(self, paths: list[str]) -> list[dict[str, Any]]:
        rows, expected = list[dict[str, Any]](), deque[dict[str, Any]]()
        read = ahead(_read, self._contents(paths), _READERS)
        ended = False

        def some() -> Iterator[np.ndarray]:
            nonlocal ended
            held = 0
            while held < _MOST_PIXELS:
                if (found := next(read, None)) is None:
                    ended = True
                    return
                path, content = found  # decoded in its turn: many large ones would fill the memory
                pixels = _decoded(content)
                rows.append(dict(path=path, width=None, height=None, error=None, people=[]))
                if isinstance(pixels, Exception):
                    rows[-1]['error'] = str(pixels)
                    continue
                rows[-1]['height'], rows[-1]['width'] = pixels.shape[:2]
                expected.append(rows[-1])
                held += pixels.size // 3
                yield pixels

        while not ended:
            for people in self._predictor.predict_many(some(), self._boxes):
                expected.popleft()['people'] = _plain(people)
        return rows

    def _contents(self, paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """The path of every picture, and what reads it or the problem."""
        for path in paths:
            if path.endswith('.parquet'):
                yield from self._in_table(path)
            else:
                yield path, lambda path=path: _patiently(lambda: self._source.read(path))

    def _in_table(self, path: str) -> Iterator[tuple[str, Any]]:
        from pyarrow import ArrowException, parquet, types

        def holds_bytes(kind: Any) -> bool:
            if types.is_struct(kind):
                return any(holds_bytes(part.type) for part in kind)
            return bool(types.is_binary(kind) or types.is_large_binary(kind))

        try:
            place = self._source.path(path)
            with _patiently(lambda: self._source.files.open_input_file(place)) as file:
                table = parquet.ParquetFile(file)
                schema, row = table.schema_arrow, 0
                # Plain bytes, or the structure of bytes and path that Hugging Face's sets have.
                column = next((f.name for f in schema if holds_bytes(f.type)), None)
                if column is None:
                    raise InputError('no column of it holds bytes')
                names = next((n for n in ('path', 'name', 'id') if n in schema.names), None)
                columns = [column] + ([names] if names else [])
                for batch in table.iter_batches(batch_size=64, columns=columns):
                    for entry in batch.to_pylist():
                        content, own = entry[column], entry.get(names)
                        if isinstance(content, dict):
                            own = own or content.get('path')
                            content = next((v for v in content.values() if type(v) is bytes), None)
                        yield f'{path}#{row if own is None else own}', lambda c=content or b'': c
                        row += 1
        except (*_ABSENT, ValueError, ArrowException) as error:
            yield path, error
        except OSError as error:  # Arrow says it of a network, and of a file that is damaged
            if not self._source.is_local:
                raise
            yield path, error

    def _table(self, rows: list[dict[str, Any]]) -> Any:
        import pyarrow as pa

        about = dict(keypoints=self._names, version=__version__)
        return pa.Table.from_pylist(rows, _schema({'mspn': json.dumps(about)}))


def _read(path: str, read: Any) -> tuple[str, bytes | Exception]:
    """The path of a picture, and its content or what is wrong with it."""
    try:
        if isinstance(read, Exception):
            raise read
        return path, read()
    except (*_ABSENT, ValueError) as error:
        return path, error
    except OSError as error:  # of the network: the shard is not done
        if isinstance(read, Exception):
            return path, error
        raise


def _decoded(content: bytes | Exception) -> np.ndarray | Exception:
    """Pixels ``(h, w, 3)`` uint8 BGR of a picture's content, or what is wrong with it."""
    if isinstance(content, Exception):
        return content
    if (pixels := decode_content(content)) is None:
        return InputError('it cannot be read as an image: it is damaged, or something else')
    try:
        return check_item(0, Item(pixels)).pixels
    except InputError as error:
        return error


def _plain(people: People) -> list[dict[str, Any]]:
    return [
        dict(
            score=person.score,
            box=np.asarray(person.box).tolist(),
            box_score=float(person.box_score),
            keypoints=np.column_stack([person.keypoints, person.scores]).ravel().tolist(),
        )
        for person in people
    ]


def _schema(metadata: dict[str, str]) -> Any:
    """Of the output; docs/scale.md describes it."""
    import pyarrow as pa

    number = pa.float32()
    person = dict(score=number, box=pa.list_(number), box_score=number, keypoints=pa.list_(number))
    columns = dict(path=pa.string(), width=pa.int32(), height=pa.int32(), error=pa.string())
    fields = [*columns.items(), ('people', pa.list_(pa.struct([*person.items()])))]
    return pa.schema(fields, metadata)
