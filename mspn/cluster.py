"""Very many pictures on many machines, with Ray: `mspn predict SOURCE --engine ray --out FOLDER`.

The source is a folder of pictures, or of Parquet files that hold them, on any file system that
Arrow reaches: a path, ``s3://``, ``gs://``, ``hdfs://``. It is divided into shards, and each
becomes one Parquet file of the output, which appears when it is complete. A run that was ended, or
has lost workers, does what is missing when the same command is given again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import posixpath
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from .batches import Item, ahead, check_item
from .errors import InputError, MissingPackage, listed
from .media import IMAGE_SUFFIXES
from .models import POSE, default_detector, find_model
from .poses import People, names_of
from .progress import Progress
from .runtime import Predictor
from .version import __version__

_PLAN = '_plan.parquet'  # in the output: which pictures make which shard, and the settings
_READERS = 4  # threads of a worker that fetch and decode pictures
_MOST_PIXELS = 2**27  # of one picture, 0.4 GB; a worker that runs out of memory helps nobody
_MOST_BLOCKS = 10_000  # tasks that Ray has to know of; each may hold many shards
# Of `mspn predict`: what has a meaning here.
_OPTIONS = 'bbox_thr detector device engine input model nms_thr oks_thr out score_thr shard_size '
_OPTIONS += 'whole_image workers batch_size'


def run(args: argparse.Namespace) -> None:
    """Divides the source into shards, and has those done that are missing."""
    try:
        import pyarrow  # noqa: F401
        import ray
    except ImportError as error:
        raise MissingPackage(
            '--engine ray needs what `pip install "mspn_plugin[cluster]"` installs '
            f'({error.name} is missing)'
        ) from error
    for name, value in vars(args).items():
        if name not in _OPTIONS.split() and value != args.command.get_default(name):
            if name not in ('command', 'given', 'module', 'settle'):
                raise InputError(f'--{name.replace("_", "-")} is not for --engine ray')
    if not args.out:
        raise InputError('--engine ray needs --out, a folder or an address for the Parquet files')
    options = dict(device=args.device or 'cpu', threads=1, batch_size=args.batch_size)
    options |= dict(score_thr=args.score_thr, box_thr=args.bbox_thr, nms_thr=args.nms_thr)
    options |= dict(oks_thr=args.oks_thr)
    files = _model_files(args)
    _check_models(files, options, args.whole_image)
    plan = _Plan(str(args.input), str(args.out), args.shard_size, _settings(args, files))
    missing = plan.missing()
    done = len(plan.shards) - len(missing)
    print(f'{len(plan.shards)} shards, of which {done} are done', flush=True)
    if not missing:
        return
    _start(ray)
    on_gpu = options['device'] != 'cpu'
    workers = args.workers or int(ray.cluster_resources().get('GPU' if on_gpu else 'CPU', 1))
    shards = [dict(shard=number, paths=plan.shards[number]) for number in missing]
    blocks, worker = min(len(shards), _MOST_BLOCKS), cast(Any, _Worker)
    results = ray.data.from_items(shards, override_num_blocks=blocks).map(
        worker,
        compute=ray.data.ActorPoolStrategy(size=min(max(workers, 1), len(shards))),
        num_cpus=1,
        num_gpus=int(on_gpu),
        fn_constructor_args=[plan.place, ray.put(files), options, args.whole_image],
    )
    failed = list[str]()
    with Progress(sum(len(plan.shards[number]) for number in missing), 'pictures') as bar:
        try:
            for result in results.iter_rows():
                for people in result['people']:
                    bar.add(int(people))
                failed += result['failed']
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f'the run has ended early ({reason}); what is done stays in {args.out}, and the '
                'same command goes on from there'
            ) from error
    if failed:
        print(f'{len(failed)} could not be used, and their rows say why: {listed(failed)}')
    print(f'written: {args.out}')


def _start(ray: Any) -> None:
    """Joins the cluster that is there, or else starts one on this machine."""
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    variables = dict(OPENCV_IO_MAX_IMAGE_PIXELS=str(_MOST_PIXELS), OMP_NUM_THREADS='1')
    common: Any = dict(runtime_env=dict(env_vars=variables), log_to_driver=False)
    common['logging_level'] = 'ERROR'
    try:
        ray.init(address='auto', **common)
    except ConnectionError:
        ray.init(include_dashboard=False, object_store_memory=2**28, **common)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _model_files(args: argparse.Namespace) -> dict[str, bytes]:
    """The ONNX files, which travel to the workers."""
    files = dict[str, bytes]()
    for kind, words in (('pose', args.model or [POSE]), ('detector', args.detector)):
        if words and len(words) == 1 and not words[0].lower().endswith('.onnx'):
            words = find_model(words[0], kind)
        if words and len(words) > 1:
            raise InputError(
                f'--engine ray takes ONNX files; write one with `mspn export {" ".join(words)} -o '
                f'{kind}.onnx`'
            )
        if words:
            path = Path(words[0])
            if not path.is_file():
                raise InputError(f'{path} does not exist; expected a file of `mspn export`')
            files[f'{kind}.onnx'] = content = path.read_bytes()
            for beside in path.parent.glob('*.safetensors'):  # weights that the file refers to
                if beside.name.encode() in content:
                    files[beside.name] = beside.read_bytes()
    return files


def _predictor(files: dict[str, bytes], options: dict[str, Any]) -> Predictor:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        paths: Any = {n[:-5]: Path(folder, n) for n in files if n.endswith('.onnx')}
        return Predictor(**paths, **options)


def _check_models(files: dict[str, bytes], options: dict[str, Any], whole_image: bool) -> None:
    """Raises an `InputError` here, where it is one sentence, rather than in every worker."""
    predictor = _predictor(files, options | dict(device='cpu'))
    if not whole_image and 'detector.onnx' not in files:
        default_detector(names_of(predictor.meta))


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
            self.files, self.root = fs.FileSystem.from_uri(self.address)
        except (OSError, ValueError) as error:
            raise InputError(f'{address} cannot be reached: {error}') from error

    def listed(self) -> list[str]:
        """The files in it and below, from its root, sorted; but for hidden ones."""
        from pyarrow import fs

        try:
            found = self.files.get_file_info(fs.FileSelector(self.root, recursive=True))
        except OSError as error:
            raise InputError(f'{self.address} cannot be listed: {error}') from error
        names = (posixpath.relpath(each.path, self.root) for each in found if each.is_file)
        return sorted(name for name in names if not any(p[0] in '._' for p in name.split('/')))

    def path(self, name: str) -> str:
        """A file in it."""
        return posixpath.join(self.root, name)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.files.get_file_info(self.path(name)).is_file)

    def read(self, name: str) -> bytes:
        """A file's content."""
        with self.files.open_input_stream(self.path(name)) as stream:
            return bytes(stream.read())

    def write(self, name: str, table: Any) -> None:
        """Writes a Parquet file that is complete as soon as it is there."""
        from pyarrow import parquet

        # An object of S3 appears when its stream is closed; elsewhere a file is moved in place.
        moved = self.files.type_name in ('local', 'hdfs')
        place = self.path(f'_{name}.{os.getpid()}.partial' if moved else name)
        self.files.create_dir(self.root, recursive=True)
        parquet.write_table(table, place, filesystem=self.files, compression='zstd')
        if moved:
            self.files.move(place, self.path(name))


class _Plan:
    """Which pictures make which shard; it is kept in the output, so that no later run differs."""

    def __init__(self, source: str, out: str, shard_size: int, settings: dict[str, Any]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.source, self.out = _Place(source), _Place(out)
        self.place = (self.source.address, self.out.address)
        self.shards: list[list[str]] = []
        settings = dict(settings, source=self.source.address)
        if self.out.has(_PLAN):
            table = parquet.read_table(self.out.path(_PLAN), filesystem=self.out.files)
            before = json.loads(table.schema.metadata[b'mspn'])
            if other := sorted(key for key in settings if settings[key] != before.get(key)):
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
        there = set(self.out.listed())
        return [n for n in range(len(self.shards)) if _part(n) not in there]


def _wanted(source: _Place) -> list[str]:
    names = source.listed()
    pictures = [name for name in names if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES]
    tables = [name for name in names if name.endswith('.parquet')]
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
        name, rows = _part(row['shard']), list[dict[str, Any]]()
        if not self._out.has(name):
            rows = self._rows(list(row['paths']))
            self._out.write(name, self._table(rows))
        return dict(
            shard=row['shard'],
            people=[len(each['people']) for each in rows],
            failed=[each['path'] for each in rows if each['error']],
        )

    def _rows(self, paths: list[str]) -> list[dict[str, Any]]:
        rows, expected = list[dict[str, Any]](), deque[dict[str, Any]]()

        def good() -> Iterator[np.ndarray]:
            for path, pixels, problem in ahead(_decode, self._contents(paths), _READERS):
                height, width = (None, None) if pixels is None else pixels.shape[:2]
                rows.append(dict(path=path, width=width, height=height, error=problem, people=[]))
                if pixels is not None:
                    expected.append(rows[-1])
                    yield pixels

        for people in self._predictor.predict_many(good(), self._boxes):
            expected.popleft()['people'] = _plain(people)
        return rows

    def _contents(self, paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """The path of every picture, and what reads it or the problem."""
        for path in paths:
            if path.endswith('.parquet'):
                yield from self._in_table(path)
            else:
                yield path, lambda path=path: self._source.read(path)

    def _in_table(self, path: str) -> Iterator[tuple[str, Any]]:
        from pyarrow import parquet, types

        def is_binary(kind: Any) -> bool:
            return bool(types.is_binary(kind) or types.is_large_binary(kind))

        try:
            with self._source.files.open_input_file(self._source.path(path)) as file:
                table = parquet.ParquetFile(file)
                schema, row = table.schema_arrow, 0
                # Plain bytes, or the structure of bytes and path that Hugging Face's sets have.
                column = next(
                    f
                    for f in schema
                    if is_binary(f.type)
                    or (types.is_struct(f.type) and any(is_binary(part.type) for part in f.type))
                )
                names = next((n for n in ('path', 'name', 'id') if n in schema.names), None)
                columns = [column.name] + ([names] if names else [])
                for batch in table.iter_batches(batch_size=64, columns=columns):
                    for entry in batch.to_pylist():
                        content, own = entry[column.name], entry.get(names)
                        if isinstance(content, dict):
                            own = own or content.get('path')
                            content = next(v for v in content.values() if isinstance(v, bytes))
                        yield f'{path}#{row if own is None else own}', lambda c=content: c
                        row += 1
        except StopIteration:
            yield path, InputError('no column of it holds bytes')
        except Exception as error:  # Arrow's have no common base
            yield path, error

    def _table(self, rows: list[dict[str, Any]]) -> Any:
        import pyarrow as pa

        about = dict(keypoints=self._names, version=__version__)
        return pa.Table.from_pylist(rows, _schema({'mspn': json.dumps(about)}))


def _decode(path: str, read: Any) -> tuple[str, np.ndarray | None, str | None]:
    """Path, pixels ``(h, w, 3)`` uint8 BGR, and what is wrong with a picture."""
    try:
        if isinstance(read, Exception):
            raise read
        array = np.frombuffer(read(), np.uint8)
        pixels = cv2.imdecode(array, cv2.IMREAD_COLOR) if array.size else None
        if pixels is None:
            raise InputError('it cannot be read as an image: it is damaged, or something else')
        return path, check_item(0, Item(pixels)).pixels, None
    except Exception as error:  # of a file system, of OpenCV, of Arrow
        return path, None, str(error) or type(error).__name__


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
