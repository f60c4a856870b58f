"""Table 3: what text encoder and text decoder share, in pre-training on all web texts.

python -m experiments.tables.sharing [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys
from dataclasses import replace

from blip.model.config import Sharing
from experiments.tables.command import main
from experiments.tables.plan import Plan
from experiments.tables.table import TRAINED, Comparison, Table, Variant, trained

SHARINGS: dict[str, Sharing] = {
    "all but self-attention": "all_but_self_attention",
    "all": "all",
    "all but cross-attention": "all_but_cross_attention",
    "nothing": "nothing",
}
"""The paper's choice first: the time of a step is compared with its."""
STEPS = 60


def variants(plan: Plan) -> dict[str, Variant]:
    """A pre-training each, and steps of all four timed in turns."""
    speed = plan.speed(tuple(SHARINGS.values()), min(STEPS, plan.sizes.pretrain.steps))
    return {
        name: replace(
            trained(plan.sized(replace(plan.sizes.model, sharing=sharing))),
            speed=(speed, sharing),
        )
        for name, sharing in SHARINGS.items()
    }


TABLE = Table(
    name="sharing",
    number=3,
    title="Parameters that text encoder and decoder share",
    claim="sharing all but self-attention is better than sharing more, or cross-attention less",
    paper="all / all but cross-attention / all but self-attention / nothing: 224 / 252 / 252 / 361 "
    "M parameters, TR@1 77.3 / 77.5 / 78.4 / 78.3",
    comparisons=tuple(
        Comparison(better="all but self-attention", than=other)
        for other in ("all", "all but cross-attention", "nothing")
    ),
    columns=("parameters", "step_ratio", *TRAINED),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
