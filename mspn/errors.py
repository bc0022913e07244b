"""The one exception that the command turns into a sentence instead of a traceback."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one sentence that names the thing, what was expected and what to do.
    """


class MissingPackage(ImportError):
    """A package that is needed cannot be imported; the message says how to install it."""


def listed(things: Sequence[object], count: int = 10) -> str:
    """The first of some things, and how many more there are, for a message."""
    more = f' and {len(things) - count} more' if len(things) > count else ''
    return ', '.join(map(str, things[:count])) + more


def is_text(name: str) -> bool:
    """Whether a name is Unicode text: the system and JSON give others, which nothing can write."""
    return not any('\ud800' <= letter <= '\udfff' for letter in name)


def printable(text: str) -> str:
    """A text on one line, for a terminal: control codes in strangers' names are escaped."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def exit_with_sentence(main: Callable[[], int | None]) -> Callable[[], None]:
    """Decorates a script's ``main``: what ends it is a status, and one line on stderr.

    Args:
        main: It may give an exit status. For an `InputError`, what the training half lacks, or a
            file or folder that the system refuses, the status is 2.
    """

    @functools.wraps(main)
    def run() -> None:
        try:
            status = main()
            sys.stdout.flush()
        except KeyboardInterrupt:
            print('stopped by the keyboard', file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:  # whoever read it, such as head, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(141) from None
        except (InputError, MissingPackage, OSError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.filename is not None:
                text = f'{error.filename} cannot be used: {error.strerror}'
            elif isinstance(error, OSError):
                raise
            if 'DataLoader worker process' in text.partition('\n')[0]:  # with its traceback
                text = text.rpartition('InputError: ')[2].strip()
            print(f'error: {printable(text)}', file=sys.stderr)
            raise SystemExit(2) from None
        if status:
            raise SystemExit(status)

    return run
