"""Training on the CPU beside snnTorch, SpikingJelly, norse and torch's own layers, forward and backward; or on a GPU.

    make bench
    python benchmarks/training.py [--case dynamics,layer] [--opponents snntorch] [--out FILE] [--markdown FILE]
    python benchmarks/training.py --device cuda [...]

Prints the tables in Markdown and writes them and the same as JSON where asked. A candidate that fails, or that computes
something else than it should, ends the run with its reason: there is no table without it. Goals are printed, met or
not; they do not change the exit status, which a busy machine would.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**28)}
"""glibc keeps what is freed. Otherwise it may hand back an array of megabytes with every call and get it anew, page by
page, which takes longer than filling it, and depends on what else the process has allocated."""


def arguments() -> argparse.Namespace:
    """The command line; what it names is checked."""
    from training.cases import CASES
    from training.opponents import OPPONENTS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=list(CASES), default="cpu", help="default: %(default)s")
    parser.add_argument("--case", help=f"default: all that the device has; {_listed(CASES)}")
    parser.add_argument(
        "--opponents", help=f"default: all that the device has; {_listed(OPPONENTS)}; none: torch's own layers"
    )
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to try this program; the figures say nothing"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile of the eager kernel as well; slow; CPU")
    parser.add_argument("--default-malloc", action="store_true", help="glibc may hand freed memory back; CPU")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--markdown", type=Path, help="a Markdown file to write")
    args = parser.parse_args()
    cases, opponents = CASES[args.device], OPPONENTS[args.device]
    args.case = list(cases) if args.case is None else args.case.split(",")
    wanted = ",".join(opponents) if args.opponents is None else args.opponents
    args.opponents = () if wanted == "none" else tuple(wanted.split(","))
    for given, known, option in ((args.case, cases, "--case"), (args.opponents, opponents, "--opponents")):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"{option}: {', '.join(unknown)}; choose from {', '.join(known)}")
    if args.repeats < 2:
        parser.error("--repeats: at least 2 are needed")
    for chosen, option in ((args.compile, "--compile"), (args.default_malloc, "--default-malloc")):
        if chosen and args.device != "cpu":
            parser.error(f"{option}: of --device cpu")
    return args


def _listed(known: Mapping[str, Iterable[str]]) -> str:
    return "; ".join(f"{device}: {','.join(names)}" for device, names in known.items())


def main() -> int:
    wanted = SINGLE if "--default-malloc" in sys.argv else SINGLE | KEPT
    if any(os.environ.get(key) != value for key, value in wanted.items()):  # asked for when libraries load: begin anew
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    args = arguments()

    import torch
    from training.cases import CASES
    from training.machine import versions
    from training.opponents import OPPONENTS, imported
    from training.platforms import PLATFORMS, NoGPU
    from training.report import as_dictionary, markdown, method
    from training.settings import Options
    from training.timing import CandidateFailed

    from snubridge import SnubridgeError

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # what SpikingJelly lacks on a CPU
    sections = []
    packages = [OPPONENTS[args.device][name].package for name in args.opponents]
    try:
        platform = PLATFORMS[args.device](not args.default_malloc)
        for package in packages:  # before minutes have gone by
            imported(package)
        warmup = 2 if args.quick else 10
        options = Options(
            args.repeats, warmup, args.quick, args.compile, args.opponents, platform.device, platform.clock
        )
        for case in args.case:
            print(f"{case} ...", file=sys.stderr, flush=True)
            sections += CASES[args.device][case](options)
    except NoGPU as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (CandidateFailed, SnubridgeError, torch.OutOfMemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = versions(packages) | platform.packages
    how = method(options.repeats, options.warmup, platform.measured, platform.memory)
    text = markdown(sections, platform.headline, found, how)
    print(text)
    about = {**platform.about, "quick": args.quick}
    figures = as_dictionary(sections, about, versions=found, method=how)
    for path, content in ((args.out, json.dumps(figures, indent=1) + "\n"), (args.markdown, text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
