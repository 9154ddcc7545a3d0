"""``snubridge``: the command line. One small file per verb beside this one."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn

import snubridge
from snubridge.cli import (
    backends,
    certify,
    compare,
    demo,
    doctor,
    export,
    fuzz,
    import_,
    info,
    plot,
    quantize,
    run,
    validate,
    verify,
)
from snubridge.errors import BadFile, SnubridgeError, one_line

VERBS: dict[str, ModuleType] = {
    "demo": demo,
    "info": info,
    "validate": validate,
    "export": export,
    "import": import_,
    "run": run,
    "verify": verify,
    "certify": certify,
    "quantize": quantize,
    "compare": compare,
    "plot": plot,
    "fuzz": fuzz,
    "backends": backends,
    "doctor": doctor,
}
DONE, DIFFERENT, REFUSED = 0, 1, 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of the command does."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="snubridge",
        description="Carry trained networks of Spiking Neural Units to other engines, with the same spikes.",
        epilog="Exit status: 0 done and equal; 1 spikes differ; 2 bad input, refused, interrupted, or usage.",
    )
    top.add_argument("--version", action="version", version=f"snubridge {snubridge.__version__}")
    verbs = top.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for name, module in VERBS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        verb = verbs.add_parser(name, help=summary, description=module.__doc__)
        verb.add_argument("--traceback", action="store_true", help="of an unforeseen error, show where it comes from")
        verb.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        module.add_arguments(verb)
        verb.set_defaults(verb=module)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_args(arguments)
    try:
        with _terminable():
            status, document, text = _result(args)
            _print(json.dumps(document, indent=2, allow_nan=False) if args.json else text)
    except SnubridgeError as error:
        return _refuse(args, "; ".join(str(error).split("\n")))
    except KeyboardInterrupt:
        return _refuse(args, "interrupted; nothing is half-written")
    except _Terminated:
        return _refuse(args, "terminated; nothing is half-written")
    except MemoryError:
        return _refuse(args, "out of memory: run fewer samples or steps at a time, or a smaller network")
    except BrokenPipeError:  # the reader of our output (head, less) has gone: that is its right
        _forget_output()
        return DONE
    except Exception as error:  # a fault of ours or of an engine: one line, and the rest on request
        if args.traceback:
            raise
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        return _refuse(args, f"unforeseen {cause[:300]}; --traceback shows where")
    return status


def _result(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    result: tuple[int, dict[str, Any], str] = args.verb.run(args)
    return result


def _refuse(args: argparse.Namespace, why: str) -> int:
    print(f"snubridge {args.command}: {one_line(why, longest=math.inf)}", file=sys.stderr)
    return REFUSED


def _print(text: str) -> None:
    """Print to standard output, whatever its encoding; ``BadFile`` where it takes nothing."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _forget_output()
        raise BadFile(f"standard output: cannot be written: {error.strerror or error}") from None


def _forget_output() -> None:
    """Let Python flush at its end what cannot be written, without a word."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Terminated(BaseException):
    """SIGTERM: ends the command as Ctrl-C does, with everything cleaned up."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    def terminate(_signal: int, _frame: object) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


if __name__ == "__main__":
    sys.exit(main())
