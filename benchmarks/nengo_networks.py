"""Exported networks on Nengo beside plain numpy, and samples side by side beside one after the other.

    python benchmarks/nengo_networks.py [--case layers,batches] [--repeats N] [--out F] [--markdown F]

One process, one thread, CPU time. Prints the tables in Markdown and writes them and the same as JSON where asked.
Candidates that do not compute the same end the run. Goals are printed, met or not; they do not change the exit status,
which a busy machine would. The file is not called nengo.py: Python would take it for the engine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
HOW = (
    "CPU time of the process in one thread, float64. The candidates of a table take turns in one process: one call "
    "to warm up, then {repeats} rounds. A step of a layer is without building; a batch is one `program.run`, with "
    "building, checking and copying. Ratios are medians of the ratios of single rounds. All record every spike, and "
    "all of them are compared. Nengo runs without its optimizer, as `program.run` does."
)


def arguments() -> argparse.Namespace:
    """The command line; what it names is checked."""
    from nengo_cases.cases import CASES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", default=",".join(CASES), help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=9, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to try this program; the figures say nothing"
    )
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--markdown", type=Path, help="a Markdown file to write")
    args = parser.parse_args()
    args.case = args.case.split(",")
    if unknown := [name for name in args.case if name not in CASES]:
        parser.error(f"--case: {', '.join(unknown)}; choose from {', '.join(CASES)}")
    if args.repeats < 2:
        parser.error("--repeats: at least 2 are needed")
    return args


def main() -> int:
    if any(os.environ.get(key) != value for key, value in SINGLE.items()):  # asked for when libraries load: begin anew
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SINGLE})
    args = arguments()

    from nengo_cases.cases import CASES, Options
    from networks.report import as_dictionary, markdown
    from training.machine import machine, versions
    from training.timing import CandidateFailed

    from snubridge import SnubridgeError

    about = machine() | {"quick": args.quick, "repeats": args.repeats}
    found = versions(["nengo", "numpy"])
    tables = []
    try:
        for case in args.case:
            print(f"{case} ...", file=sys.stderr, flush=True)
            tables += CASES[case](Options(args.repeats, args.quick))
    except (CandidateFailed, SnubridgeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = markdown(tables, about, found, [], HOW.format(**about))
    print(text)
    content = json.dumps(as_dictionary(tables, about, found, []), indent=1) + "\n"
    for path, wanted in ((args.out, content), (args.markdown, text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
