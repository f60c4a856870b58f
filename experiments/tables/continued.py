"""Table 6: training anew on the bootstrapped set beside continuing from the model that made it.

python -m experiments.tables.continued [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys

from experiments.tables.command import main
from experiments.tables.plan import Plan
from experiments.tables.table import TRAINED, Comparison, Table, Variant, trained


def variants(plan: Plan) -> dict[str, Variant]:
    """As many steps on the bootstrapped set, and as many in all; a control on the noisy one."""
    model = plan.pretrain()
    cut = plan.cut(plan.written(model))
    # Continued training has the steps of the model that it continues as well.
    twice = plan.lengthened(2)
    return {
        "none": trained(plan),
        "anew": trained(plan, cut),
        "anew, twice the steps": trained(twice, cut),
        "continued": trained(plan, cut, init=model),
        "continued, none": trained(plan, init=model),
    }


TABLE = Table(
    name="continued",
    number=6,
    title="Training anew beside continued training",
    claim="training anew is better than continuing from the model that made the data",
    paper="no gain from continued training",
    comparisons=(
        Comparison(better="anew, twice the steps", than="continued"),
        Comparison(better="anew", than="continued"),
    ),
    columns=TRAINED,
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
