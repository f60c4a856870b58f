"""Table 7b: the share of web texts that do not match their image.

python -m experiments.tables.noise [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys

from experiments.tables.command import main
from experiments.tables.plan import Plan
from experiments.tables.table import DROPPED, TRAINED, Comparison, Table, Variant, trained

NOISE = (0.1, 0.3, 0.5, 0.8)


def variants(plan: Plan) -> dict[str, Variant]:
    """Without CapFilt, and with it, on web sets of each noise."""
    found: dict[str, Variant] = {}
    for noise in NOISE:
        at = plan.drawn(noise=noise)
        found[f"none, {noise:.0%}"] = trained(at)
        found[f"both, {noise:.0%}"] = trained(at, at.cut(at.written(at.pretrain())))
    return found


TABLE = Table(
    name="noise",
    number=7,
    title="Noise of the web set",
    claim="CapFilt helps at any share of noise",
    paper="(the noise of its web sets is not known)",
    comparisons=tuple(
        Comparison(better=f"both, {noise:.0%}", than=f"none, {noise:.0%}") for noise in NOISE
    ),
    columns=(*TRAINED, *DROPPED, "synthetic_correct_after", "filter_precision", "filter_recall"),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
