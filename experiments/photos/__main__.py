"""The main job on real photos: noisy baseline, captioner and filter, CapFilt, training anew.

    python -m experiments.photos --vision_weights FILE --text_weights FILE --out DIR

Resumes where it was stopped; at the end it writes results.json and the tables of README.md here.
Photos are read from the folder that BLIP_SHARED names (default `../shared`).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from blip.errors import BlipError, UsageError, plain
from blip.files import write_atomically, write_json
from blip.reports.origin import origin
from experiments.photos.page import page
from experiments.photos.prepare import prepare
from experiments.photos.run import MODELS, run
from experiments.photos.settings import STEPS, Places
from experiments.results import put_table

HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, train, clean, judge, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vision_weights", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--text_weights", required=True, type=Path, metavar="FILE", help="vocab.txt beside"
    )
    parser.add_argument("--out", type=Path, default=HERE / "run", metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="prepared data; default OUT/data")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument(
        "--steps_scale", type=float, default=1.0, metavar="X", help="for a trial: times the steps"
    )
    parser.add_argument(
        "--models",
        nargs="*",
        choices=MODELS,
        default=MODELS,
        metavar="NAME",
        help="train anew on what was kept: filtered, bootstrapped (default both); none: end there",
    )
    args = parser.parse_args(argv)
    shared = Path(os.environ.get("BLIP_SHARED", "../shared"))
    data = args.data or args.out / "data"
    places = Places(args.vision_weights, args.text_weights, data, args.out, shared)
    try:
        if not (data / "prepared.json").is_file():
            prepare(shared, data, args.seed)
        results = run(places, args.seed, args.steps_scale, args.models)
    except BlipError as error:
        print(f"photos: error: {plain(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    results |= {"seed": args.seed, "steps": STEPS, **origin(HERE)}
    print("\n".join(page(results)))
    if args.steps_scale == 1.0:
        write_json(HERE / "results.json", results)
        readme = HERE / "README.md"
        table = "\n".join(["", *page(results), ""])
        write_atomically(readme, put_table(readme.read_text("utf-8"), "photos", table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
