"""The command `mspn`, and the scripts in `tools/`, which are its subcommands under mim's names.

Arguments are parsed before anything heavy is imported; a subcommand imports what it needs when it
runs. Exit status: 0 all is well, 1 the answer is no (`check`, `doctor`), 2 something that was given
cannot be used, which one line on stderr says, 130 stopped by the keyboard.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .errors import InputError, exit_with_sentence
from .version import __version__

_CONFIG = 'path of a config, or the name of one of this package'
_WEIGHTS = 'the weights, a file or a URL (default: those that `mspn models` lists for the config)'
_SWITCH = argparse.BooleanOptionalAction
_OVERRIDES: Any = dict(
    nargs='+',
    metavar='KEY=VALUE',
    help='override settings of the config, such as train_dataloader.batch_size=16',
)


def _number(kind: type, low: float, high: float, what: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f'{text} is not {what}')

    return read


fraction = _number(float, 0, 1, 'a number from 0 to 1')
score = _number(float, 0, 1e9, 'a number from 0 on')  # a perfect heatmap's keypoint has 1.5
positive = _number(int, 1, 2**31 - 1, 'a whole number from 1 on')


def _adders(parser: argparse._ActionsContainer) -> tuple[Callable[..., object], ...]:
    """What adds an argument with a value, and what adds one without."""
    return parser.add_argument, functools.partial(parser.add_argument, action='store_true')


def refuse_others(args: argparse.Namespace, meant: str, mode: str) -> None:
    """Raises an `InputError` if an option was given that is not one of those meant in a mode."""
    known = f'{meant} command given module settle'.split()
    for name, value in vars(args).items():
        if name not in known and value != args.command.get_default(name):
            raise InputError(f'--{name.replace("_", "-")} is not for {mode}')


def _run_options(parser: argparse.ArgumentParser) -> None:
    """Adds what training and evaluation have in common."""
    add, flag = _adders(parser)
    add('--work-dir', help='folder for logs and results (default: work_dirs/<config>)')
    add('--data-root', metavar='FOLDER', help="the data set in COCO's layout, not the config's")
    add('--category', metavar='NAME', help='the one to read, if a file has several with keypoints')
    what = 'write copies of label files with what cannot be right corrected, and use those'
    flag('--mend', help=what)
    what = 'go on in spite of problems of these kinds'
    add('--allow', nargs='+', default=[], choices=['units', 'keypoint-order'], help=what)
    flag('--gt-boxes', help='evaluate with the annotated boxes instead of those of a detector')
    flag('--blank-bad-images', help='evaluate black images for unreadable ones, instead of failing')
    add('--cfg-options', **_OVERRIDES)
    launchers = ['none', 'pytorch', 'slurm', 'mpi']
    add('--launcher', choices=launchers, default='none', help='what started the processes')
    # torch.distributed.launch passes it, torchrun sets the environment variable instead.
    add('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def _train(parser: argparse.ArgumentParser) -> None:
    add, flag = _adders(parser)
    add('config', help=f'{_CONFIG}; or a folder of `mspn new`')
    _run_options(parser)
    what = 'go on from a checkpoint, or from the newest one in the work folder if none is named'
    add('--resume', nargs='?', const='auto', metavar='CHECKPOINT', help=what)
    what = 'mixed precision, fp16 if none is named; without a GPU bf16, on CPUs that have it'
    add('--amp', nargs='?', const='fp16', choices=['fp16', 'bf16', 'none'], help=what)
    flag('--detector', help='train the detector of a folder of `mspn new` instead')
    what = 'go on if no more of the samples than this have unreadable images (default: 0.001, or 1)'
    add('--bad-images', type=fraction, metavar='FRACTION', help=what)
    flag('--no-validate', help='do not evaluate while training')
    what = 'end early if the AP has not risen in so many evaluations'
    add('--stop-after', type=positive, metavar='N', help=what)
    flag('--log', help="MMEngine's whole log on the terminal, not a line (it is in a file too)")
    add('--report', action=_SWITCH, default=True, help='write report.html at the end')
    flag('--auto-scale-lr', help="scale the learning rate from the config's base batch to this one")


def _test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help=f'{_CONFIG}; or the folder of `mspn new`')
    parser.add_argument('checkpoint', nargs='?', help=_WEIGHTS)
    _run_options(parser)
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the numbers as JSON')


def _predict(parser: argparse.ArgumentParser) -> None:
    add, _ = _adders(parser)
    add('input', nargs='?', help='an image, a folder of images, a video, or webcam:0')
    words: Any = dict(nargs='+', metavar=('MODEL', 'WEIGHTS'))
    what = (
        'the pose model: an ONNX file of `mspn export`; or, with torch, a config and its weights, '
    )
    what += 'or a name that `mspn models` lists (default: the one that ships, mspn-small)'
    add('--model', help=what, **words)
    add, flag = _adders(parser.add_mutually_exclusive_group())
    what = "boxes from this detector: an ONNX file, a config of MMDet's and weights, or a name "
    add('--detector', help=what + '(default: the one that ships)', **words)
    what = 'boxes from COCO detections; the names of the images end in their ids'
    add('--boxes', type=Path, metavar='FILE', help=what)
    flag('--whole-image', help='one person fills each image')
    predict_options(parser)
    add, _ = _adders(parser)
    what = 'ray: very many pictures on a cluster or on every core here, into Parquet files'
    add('--engine', choices=['local', 'ray'], default='local', help=what)
    what = 'pictures in a Parquet file of the output, with ray (1000)'
    add('--shard-size', type=positive, default=1000, metavar='N', help=what)
    what = 'processes, with ray (default: one per core, or per GPU)'
    add('--workers', type=positive, metavar='N', help=what)
    parser.set_defaults(settle=_settle_models)


def _settle_models(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Takes words apart: ``--model FILE.onnx photo.jpg`` holds the input, which argparse misses."""
    given = {option: getattr(args, option) or [] for option in ('detector', 'model')}
    light = {o: bool(words) and words[0].lower().endswith('.onnx') for o, words in given.items()}
    most = {option: 1 if light[option] else 2 for option in given}
    if args.input is None:
        # The one that has a word too many; or else of two words the second, if the first is a name.
        surplus = [words for option, words in given.items() if len(words) == most[option] + 1]
        surplus += [words for words in given.values() if len(words) == 2]
        args.input = surplus[0].pop() if surplus else None
    for option, words in given.items():
        if len(words) > most[option]:
            parser.error(f'--{option} takes an ONNX file, a name, or a config and its weights')
    if args.input is None:
        parser.error('the following arguments are required: input')


def predict_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `mspn predict`, ``tools/infer.py`` and ``tools/topdown_demo.py`` share."""
    add, flag = _adders(parser)
    add('--out', metavar='FOLDER', help='default: results/<name of the input>')
    flag('--overwrite', help='replace results of an earlier run')
    add('--pictures', action=_SWITCH, default=True, help='write pictures, or the video')
    add('--json', '--save-json', action=_SWITCH, default=True, help='write the people as JSON')
    flag('--csv', help='write the people as a table too, people.csv')
    flag('--show', help='show every picture in a window; q or Esc ends the run')
    flag('--heatmaps', '--show-heatmaps', help='lay the heatmaps over the pictures')
    flag('--draw-boxes', help='draw boxes and scores too')
    flag('--limit-to-detections', help='leave out images of which the file of boxes has none')
    for name, kind, default, what in (
        ('keypoint', score, 0.0, 'draw only keypoints with this score; where nothing is seen: 0.5'),
        ('person', score, 0.0, 'draw only people with this score; the JSON has all'),
        ('score', score, 0.0, "leave out people below; the box's times the mean of the keypoints'"),
        ('bbox', fraction, 0.3, 'leave out boxes of the detector with a lower score'),
        ('nms', fraction, 0.3, 'of two boxes that overlap more, leave out the one of lower score'),
        ('oks', fraction, 0.9, 'of two poses more alike (object keypoint similarity) likewise'),
    ):
        add(f'--{name}-thr', type=kind, default=default, metavar='X', help=f'{what} ({default})')
    add('--det-cat-id', type=int, default=0, metavar='N', help="the detector's index of people (0)")
    for name, number, what in (
        ('det-every', 1, 'detect in every Nth frame of a film; in others boxes follow the poses'),
        ('batch-size', 64, 'people in a batch; as many images wait in memory'),
        ('det-batch-size', 8, 'frames in a batch of the detector'),
    ):
        add(f'--{name}', type=positive, default=number, metavar='N', help=f'{what} ({number})')
    flag('--track', help='number the people of a film: the same person has the same number')
    what = 'take the trembling out of the poses of a film, from 0, not at all, to 1 (0)'
    add('--smooth', type=fraction, default=0.0, metavar='X', help=what)
    what = 'cpu, cuda or cuda:N (default: cuda if there is one; for an ONNX file cpu)'
    add('--device', help=what)
    add('--det-device', metavar='DEVICE', help='another one for the detector')
    add('--pose-device', metavar='DEVICE', help='another one for the pose model')
    add('--cfg-options', **_OVERRIDES)
    parser.set_defaults(results='predictions.json', picture='pictures/{name}', whole_image=False)


def _new(parser: argparse.ArgumentParser) -> None:
    add, _ = _adders(parser)
    what = "labels with their pictures: COCO's (CVAT, Roboflow, COCO Annotator), YOLO-pose's, or "
    add('data', type=Path, help=what + "Label Studio's; a folder or a file")
    add('--out', type=Path, required=True, metavar='FOLDER', help='a new folder for all of it')
    add('--category', metavar='NAME', help='the one to read, if there are several')
    what = 'of the division into training and validation, if the labels have none (0)'
    add('--seed', type=int, default=0, metavar='N', help=what)


def _report(parser: argparse.ArgumentParser) -> None:
    add, _ = _adders(parser)
    what = 'the work folder of a training, or a folder of `mspn new`; two are compared'
    add('runs', nargs='+', metavar='RUN', help=what)
    add('--checkpoint', metavar='FILE', help='the weights (default: the best of the training)')
    add('--out', type=Path, metavar='FILE', help='default: report.html in the work folder')


def _check(parser: argparse.ArgumentParser) -> None:
    add, _ = _adders(parser)
    add('annotations', type=Path, help='the COCO keypoint file')
    add('images', type=Path, help='the folder that its file names start from')
    skeleton = parser.add_mutually_exclusive_group()
    what = 'check this skeleton too: a Python file with dataset_info, which is run'
    skeleton.add_argument('--metainfo', type=Path, metavar='FILE', help=what)
    skeleton.add_argument('--config', help=f'check the skeleton of this config too: {_CONFIG}')
    add('--report', type=Path, metavar='FILE', help='write all of it as JSON')
    add('--category', metavar='NAME', help='the one to read, if the file has several')
    what = 'write a copy in which what cannot be right is corrected as far as it can be'
    add('--mend', type=Path, metavar='FILE', help=what)
    what = 'processes that decode images (default: one per core)'
    add('--jobs', type=positive, default=os.cpu_count(), metavar='N', help=what)
    what = 'decode the images, or only look whether they are there'
    add('--decode', action=_SWITCH, default=True, help=what)


def _convert(parser: argparse.ArgumentParser) -> None:
    add, flag = _adders(parser)
    what = "weights of MMPose's, Megvii's or MindSpore's MSPN: a file or a URL"
    add('source', metavar='SRC', help=what)
    add('target', metavar='DST', type=Path, help='the file to write, .pth or .safetensors')
    flag('--overwrite', help='replace DST if it exists')


def _serve(parser: argparse.ArgumentParser) -> None:
    add, _ = _adders(parser)
    what = 'pose models, ONNX files of `mspn export`; the first is the default (mspn-small)'
    add('--model', nargs='+', metavar='FILE', help=what)
    add('--detector', metavar='FILE', help='an ONNX file too (default: the one that ships)')
    what = 'the address to listen at (127.0.0.1: from this machine only)'
    add('--host', default='127.0.0.1', metavar='ADDRESS', help=what)
    add('--port', type=_number(int, 0, 65535, 'a port'), default=8000, metavar='N', help='(8000)')
    add('--page', action=_SWITCH, default=True, help='a page to try it, beside the service')
    add('--device', help='cpu, cuda or cuda:N (cpu)')
    above_0 = _number(float, 1e-3, 1e9, 'a number above 0')
    for name, kind, default, what in (
        ('mb', above_0, 20.0, 'megabytes of a request'),
        ('megapixels', above_0, 40.0, 'of all pictures of a request, decoded'),
        ('pictures', positive, 16, 'in a request'),
        ('people', positive, 200, 'in a picture'),
        ('seconds', above_0, 30.0, 'until a request is answered'),
    ):
        add(f'--max-{name}', type=kind, default=default, metavar='N', help=f'{what} ({default:g})')


def _models(parser: argparse.ArgumentParser) -> None:
    pass


def _export(parser: argparse.ArgumentParser) -> None:
    add, flag = _adders(parser)
    add('config', help=f'{_CONFIG}; or the folder of `mspn new`, or a name of `mspn models`')
    add('checkpoint', nargs='?', help=_WEIGHTS)
    what = 'the file to write, .onnx, or .pt2 for torch.export'
    add('-o', '--out', type=Path, required=True, metavar='FILE', help=what)
    flag('--overwrite', help='replace FILE if it exists')
    flag('--detector', help="CONFIG is a person detector of MMDet's RTMDet family")
    add('--det-cat-id', type=int, default=0, metavar='N', help="the detector's index of people (0)")
    what = 'it takes crops of people, or a picture and boxes, and cuts the crops out itself'
    add('--input', choices=['crops', 'image'], default='crops', help=f'{what} (crops)')
    what = "average with the mirrored crop, which doubles the work (default: the config's)"
    add('--flip-test', action=_SWITCH, default=None, help=what)
    flag('--half', help='store weights with half the bits; as fast, and half the size')
    what = 'keep the weights beside it in a .safetensors file, from which training can start'
    add('--weights', type=Path, metavar='FILE', help=what)
    what = 'compute with 8 bits; the pictures of this folder, a person in each, set the ranges'
    add('--int8', type=Path, metavar='FOLDER', help=what)
    add('--licence', default='', metavar='TEXT', help="the weights' licence, for the file's facts")
    add('--training-data', default='', metavar='TEXT', help='what they have learned from, likewise')
    add('--cfg-options', **_OVERRIDES)


def _split(parser: argparse.ArgumentParser) -> None:
    add, flag = _adders(parser)
    for name, metavar, what in (
        ('annotations', 'FOLDER', 'where person_keypoints_{train,val}2014.json of COCO lie'),
        ('minival-ids', 'FILE', 'ids of the minival images, as a JSON list or one per line'),
        ('out', 'FOLDER', 'where to make gt_json/: the folder with train2014/ and val2014/'),
    ):
        add(f'--{name}', type=Path, required=True, metavar=metavar, help=what)
    flag('--overwrite', help='replace files that are there')


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', action='store_true', help='print the report as JSON')


# Name: what it does, its arguments, and the module whose `run(args)` does it.
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], str]] = {
    'predict': ('find the poses of people', _predict, 'mspn.predict_command'),
    'train': ('train a model', _train, 'mspn_plugin.commands.train'),
    'test': ('evaluate a model', _test, 'mspn_plugin.commands.test'),
    'new': ('make a data set and a config of your own labels', _new, 'mspn_plugin.commands.new'),
    'report': ('say where a model fails', _report, 'mspn_plugin.commands.report'),
    'check': ('check a COCO keypoint data set', _check, 'mspn_plugin.commands.check'),
    'convert': ('convert foreign MSPN weights', _convert, 'mspn_plugin.commands.convert'),
    'export': ('write a model as one ONNX file', _export, 'mspn_plugin.commands.export'),
    'serve': ('answer over HTTP, and on a page in the browser', _serve, 'mspn.serve.command'),
    'models': ('list the models that have names', _models, 'mspn.models'),
    'doctor': ('say what is missing here, and how to mend it', _doctor, 'mspn.doctor'),
    'make_coco2014_split': (
        'divide COCO 2014 as the original MSPN does: train + val without minival, and minival',
        _split,
        'mspn_plugin.commands.split_coco2014',
    ),
}
_TOOLS = ('make_coco2014_split',)  # which `mspn -h` does not list


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    what = 'MSPN: poses of people, from a photo to a model of your own.'
    parser = argparse.ArgumentParser(prog='mspn', description=what)
    parser.add_argument('--version', action='version', version=f'mspn {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for name, (what, add_arguments, module) in _COMMANDS.items():
        more: Any = {} if name in _TOOLS else dict(help=what)
        command = commands.add_parser(name, description=f'{what.capitalize()}.', **more)
        add_arguments(command)
        command.set_defaults(module=module, command=command)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with these arguments, or the process's; exits if the status is not 0."""
    args = make_parser().parse_args(argv)
    args.given = list(sys.argv[1:] if argv is None else argv)
    if settle := getattr(args, 'settle', None):
        settle(args.command, args)
    exit_with_sentence(lambda: _run(args.module, args))()


def tool(name: str, *options: str) -> Callable[[], None]:
    """Makes the ``main`` of a script in ``tools/``: the subcommand of that name, with options."""
    return lambda: main([name, *options, *sys.argv[1:]])


def predict_with(parse: Callable[[], argparse.Namespace]) -> Callable[[], None]:
    """Makes the ``main`` of a script that has arguments of its own and runs as `mspn predict`."""
    return exit_with_sentence(lambda: _run(_COMMANDS['predict'][2], parse()))


def _run(module: str, args: argparse.Namespace) -> int | None:
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')  # MMEngine's, at its import
    status: int | None = importlib.import_module(module).run(args)
    return status
