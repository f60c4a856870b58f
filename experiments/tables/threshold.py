"""Table 7c: the threshold of the filter, applied to the ledger of one job.

python -m experiments.tables.threshold [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys

from experiments.tables.command import main
from experiments.tables.plan import Plan
from experiments.tables.table import DROPPED, TRAINED, Comparison, Table, Variant, trained

THRESHOLDS = (0.05, 0.25, 0.5)
"""The demo's in the middle."""


def variants(plan: Plan) -> dict[str, Variant]:
    """What each threshold keeps, and nothing dropped."""
    job = plan.written(plan.pretrain())
    return {"all texts": trained(plan, plan.cut(job, "all"))} | {
        f"{threshold:g}": trained(plan, plan.cut(job, threshold=threshold))
        for threshold in THRESHOLDS
    }


TABLE = Table(
    name="threshold",
    number=7,
    title="Threshold of the filter",
    claim="the demo's threshold of 0.25 is better than a lower, a higher and none",
    paper="(its threshold is not varied)",
    comparisons=tuple(
        Comparison(better="0.25", than=other) for other in ("0.05", "0.5", "all texts")
    ),
    columns=(*TRAINED, *DROPPED, "synthetic_correct_after", "filter_precision", "filter_recall"),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
