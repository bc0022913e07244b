"""The command `mspn`, and the scripts in `tools/`, which are its subcommands under mim's names.

Arguments are parsed before anything heavy is imported; a subcommand imports what it needs when it
runs. Exit status: 0 all is well, 1 the answer is no (`check`, `doctor`), 2 something that was given
cannot be used, which one line on stderr says, 130 stopped by the keyboard.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import exit_with_sentence
from .version import __version__

_CONFIG = 'path of a config, or the name of one of this package'
_CHECKPOINT = 'the weights: a file or a URL'


def fraction(text: str) -> float:
    """Reads an option's value from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not a number from 0 to 1')
    return value


def positive(text: str) -> int:
    """Reads an option's value, a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number from 1 on')
    return value


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='override settings of the config, such as train_dataloader.batch_size=16',
    )


def _run_options(parser: argparse.ArgumentParser) -> None:
    """Adds what training and evaluation have in common."""
    add = parser.add_argument
    add('--work-dir', help='folder for logs and results (default: work_dirs/<config>)')
    add(
        '--data-root',
        metavar='FOLDER',
        help="read the data from this folder in COCO's layout instead of the config's",
    )
    add(
        '--gt-boxes',
        action='store_true',
        help='evaluate with the annotated boxes instead of the file of detected ones',
    )
    add(
        '--blank-bad-images',
        action='store_true',
        help='evaluate black images in place of those that cannot be read, instead of failing',
    )
    _settings(parser)
    add(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run',
    )
    # torch.distributed.launch passes it, torchrun sets the environment variable instead.
    add('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def _train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('config', help=_CONFIG)
    _run_options(parser)
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, or from the newest one in the work folder if none is named',
    )
    add(
        '--amp',
        nargs='?',
        const='fp16',
        choices=['fp16', 'bf16'],
        help='mixed precision, fp16 if none is named (needs a GPU)',
    )
    add(
        '--bad-images',
        type=fraction,
        metavar='FRACTION',
        help='training goes on if no more than this part of its samples has an image that cannot '
        'be read (default: 0.001; one image may be bad in any case)',
    )
    add('--no-validate', action='store_true', help='do not evaluate while training')
    add(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate to the actual total batch, from the config's base batch",
    )


def _test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help=_CONFIG)
    parser.add_argument('checkpoint', help='the weights to evaluate')
    _run_options(parser)
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the numbers as JSON')


def _check(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('annotations', type=Path, help='the COCO keypoint file')
    add('images', type=Path, help='the folder that its file names start from')
    skeleton = parser.add_mutually_exclusive_group()
    skeleton.add_argument(
        '--metainfo',
        type=Path,
        metavar='FILE',
        help='check this skeleton too: a Python file with dataset_info, which is run',
    )
    skeleton.add_argument(
        '--config', metavar='CONFIG', help=f'check the skeleton of this config too: {_CONFIG}'
    )
    add('--report', type=Path, metavar='FILE', help='write all of it as JSON')
    add(
        '--jobs',
        type=positive,
        default=os.cpu_count(),
        metavar='N',
        help='processes that decode images (default: one per core)',
    )
    add(
        '--decode',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='decode the images, or only look whether they are there',
    )


def _convert(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        'source',
        metavar='SRC',
        help="weights of MMPose's, Megvii's or MindSpore's MSPN: a file or a URL",
    )
    add('target', metavar='DST', type=Path, help='the file to write, .pth or .safetensors')
    add('--overwrite', action='store_true', help='replace DST if it exists')


def _split(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        '--annotations',
        type=Path,
        required=True,
        metavar='FOLDER',
        help="COCO's annotations of 2014: the folder with person_keypoints_{train,val}2014.json",
    )
    add(
        '--minival-ids',
        type=Path,
        required=True,
        metavar='FILE',
        help='ids of the minival images: a JSON list of numbers, or a text file with one per line',
    )
    add(
        '--out',
        type=Path,
        required=True,
        metavar='FOLDER',
        help='where to make gt_json/: the folder with train2014/ and val2014/',
    )
    add('--overwrite', action='store_true', help='replace files that are there')


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', action='store_true', help='print the report as JSON')


# Name: what it does, its arguments, and the module whose `run(args)` does it.
_Command = tuple[str, Callable[[argparse.ArgumentParser], None], str]
_COMMANDS: dict[str, _Command] = {
    'train': ('train a model', _train, 'mspn_plugin.commands.train'),
    'test': ('evaluate a model', _test, 'mspn_plugin.commands.test'),
    'check': (
        'check a COCO keypoint data set',
        _check,
        'mspn_plugin.commands.check',
    ),
    'convert': (
        'convert foreign MSPN weights, and say which settings they need',
        _convert,
        'mspn_plugin.commands.convert',
    ),
    'doctor': (
        'say what is missing here, and how to mend it',
        _doctor,
        'mspn.doctor',
    ),
}
# Scripts in tools/ that no subcommand stands for.
_TOOLS: dict[str, _Command] = {
    'make_coco2014_split': (
        'divide COCO 2014 as the original MSPN does: train + val without minival, and minival',
        _split,
        'mspn_plugin.commands.split_coco2014',
    ),
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog='mspn', description='MSPN: poses of people, from a photo to a model of your own.'
    )
    parser.add_argument('--version', action='version', version=f'mspn {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for name, (what, add_arguments, module) in _COMMANDS.items():
        command = commands.add_parser(name, help=what, description=f'{what.capitalize()}.')
        add_arguments(command)
        command.set_defaults(module=module)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; exits if the status is not 0.

    Args:
        argv: The arguments; ``None`` means those of the process.
    """
    args = make_parser().parse_args(argv)
    exit_with_sentence(lambda: _run(args))()


def tool(name: str) -> Callable[[], None]:
    """Makes the ``main`` of a script in ``tools/``.

    Args:
        name: Of a subcommand, or of a tool that is none.

    Returns:
        A function that runs with the arguments of the process, and exits if the status is not 0.
    """
    what, add_arguments, module = {**_COMMANDS, **_TOOLS}[name]

    @exit_with_sentence
    def run() -> int | None:
        parser = argparse.ArgumentParser(description=f'{what.capitalize()}.')
        add_arguments(parser)
        parser.set_defaults(module=module)
        return _run(parser.parse_args())

    return run


def _run(args: argparse.Namespace) -> int | None:
    status: int | None = importlib.import_module(args.module).run(args)
    return status
