"""``snubridge``: the command line. One small file per verb beside this one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

import snubridge
from snubridge.cli import (
    backends,
    compare,
    demo,
    doctor,
    export,
    import_,
    info,
    run,
    validate,
    verify,
)
from snubridge.errors import SnubridgeError

VERBS: dict[str, ModuleType] = {
    "demo": demo,
    "info": info,
    "validate": validate,
    "export": export,
    "import": import_,
    "run": run,
    "verify": verify,
    "compare": compare,
    "backends": backends,
    "doctor": doctor,
}
DONE, DIFFERENT, REFUSED, INTERRUPTED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of the command does."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="snubridge",
        description="Carry trained networks of Spiking Neural Units to other engines, with the same spikes.",
        epilog="Exit status: 0 done and equal; 1 spikes differ; 2 bad input, refused, or usage.",
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
        result: tuple[int, dict[str, Any], str] = args.verb.run(args)
        status, document, text = result
        print(json.dumps(document, indent=2, allow_nan=False) if args.json else text)
        sys.stdout.flush()
    except SnubridgeError as error:
        print(f"snubridge {args.command}: {'; '.join(str(error).splitlines())}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(f"snubridge {args.command}: interrupted; nothing is half-written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has gone: that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # a fault of ours or of an engine: one line, and the rest on request
        if args.traceback:
            raise
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"snubridge {args.command}: unforeseen {cause[:300]}; --traceback shows where", file=sys.stderr)
        return REFUSED
    return status


if __name__ == "__main__":
    sys.exit(main())
