"""Table 7a: rounds of CapFilt, each by captioner and filter of the round before.

python -m experiments.tables.rounds [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys

from experiments.tables.command import main
from experiments.tables.plan import Plan
from experiments.tables.table import DROPPED, TRAINED, Comparison, Table, Variant, trained

ROUNDS = 3


def variants(plan: Plan) -> dict[str, Variant]:
    """Each round cleans the same web set, and trains a model anew."""
    found = {"round 0": trained(plan)}
    model = plan.pretrain()
    for number in range(1, ROUNDS + 1):
        cut = plan.cut(plan.written(model))
        found[f"round {number}"] = trained(plan, cut)
        model = plan.pretrain(cut)
    return found


TABLE = Table(
    name="rounds",
    number=7,
    title="Rounds",
    claim="each further round helps",
    paper="(one round)",
    comparisons=tuple(
        Comparison(better=f"round {number}", than=f"round {number - 1}")
        for number in range(1, ROUNDS + 1)
    ),
    columns=(*TRAINED, *DROPPED, "synthetic_correct_after", "filter_precision", "filter_recall"),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
