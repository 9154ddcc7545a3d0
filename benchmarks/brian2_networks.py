"""Exported networks on Brian2 beside networks written by hand and plain numpy, in one process and one thread.

    python benchmarks/brian2_networks.py [--targets numpy,cython] [--case spiking,soft,memory] [--out F] [--markdown F]

Prints the tables in Markdown and writes them and the same as JSON where asked. Candidates that do not compute the same
end the run. Goals are printed, met or not; they do not change the exit status, which a busy machine would. The file is
not called brian2.py: Python would take it for the engine, in every script of this folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
TARGETS = ("numpy", "cython")
HOW = (
    "CPU time of the process in one thread, float64. The candidates of a table take turns in one process: one call "
    "to warm up, then {repeats} rounds of a run of one step and one of many more; their difference, by "
    "step, is without what Brian2 prepares before each run, which has a column of its own. Building is in the last "
    "tables. Ratios are medians of the ratios of single rounds. All record every spike (soft units: every output), "
    "and all of them are compared. What is written by hand has Brian2's own compiler flags."
)


def arguments() -> argparse.Namespace:
    """The command line; what it names is checked."""
    from brian2_cases.cases import CASES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", default=",".join(TARGETS), help="default: %(default)s")
    parser.add_argument("--case", default=",".join(CASES), help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to try this program; the figures say nothing"
    )
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--markdown", type=Path, help="a Markdown file to write")
    args = parser.parse_args()
    for option, known in (("targets", TARGETS), ("case", tuple(CASES))):
        given = getattr(args, option).split(",")
        if unknown := [name for name in given if name not in known]:
            parser.error(f"--{option}: {', '.join(unknown)}; choose from {', '.join(known)}")
        setattr(args, option, given)
    if args.repeats < 2:
        parser.error("--repeats: at least 2 are needed")
    return args


def main() -> int:
    if any(os.environ.get(key) != value for key, value in SINGLE.items()):  # asked for when libraries load: begin anew
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SINGLE})
    args = arguments()

    from brian2_cases.candidates import options
    from brian2_cases.cases import CASES, Options
    from networks.report import as_dictionary, markdown
    from training.machine import machine, versions
    from training.timing import CandidateFailed

    from snubridge import SnubridgeError

    logging.getLogger("brian2").setLevel(logging.ERROR)  # how Brian2 reports what it compiles, and its hints
    about = machine() | {"quick": args.quick, "repeats": args.repeats}
    found = versions(["brian2", "cython"])
    tables, skipped = [], []
    try:
        for target in args.targets:
            if options(target) is None:
                skipped.append(
                    f"target {target}: the brian2 adapter of this snubridge has no option target; not measured"
                )
                print(skipped[-1], file=sys.stderr, flush=True)
                continue
            for case in args.case:
                print(f"{case}, {target} ...", file=sys.stderr, flush=True)
                tables += CASES[case](Options(args.targets, args.repeats, args.quick), target)
    except (CandidateFailed, SnubridgeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = markdown(tables, about, found, skipped, HOW.format(**about))
    print(text)
    content = json.dumps(as_dictionary(tables, about, found, skipped), indent=1) + "\n"
    for path, wanted in ((args.out, content), (args.markdown, text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
