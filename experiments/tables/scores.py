"""Table 8: at equal kept share, the scores that may filter; captions an image; unsure texts.

python -m experiments.tables.scores [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys

from experiments.tables.command import main
from experiments.tables.cut import Rule
from experiments.tables.plan import Plan
from experiments.tables.table import DROPPED, TRAINED, Comparison, Table, Variant, trained

RULES: dict[str, Rule] = {
    "ITM": "itm",
    "ITC cosine": "itc",
    "sum of ranks": "rank_sum",
    "random": "random",
    "unsure web texts, too": "unsure",
}


def variants(plan: Plan) -> dict[str, Variant]:
    """Cuts of one job, and of another one that wrote three texts an image."""
    model = plan.pretrain()
    job = plan.written(model)
    found = {name: trained(plan, plan.cut(job, rule)) for name, rule in RULES.items()}
    return found | {"3 captions": trained(plan, plan.cut(plan.written(model, captions=3)))}


TABLE = Table(
    name="scores",
    number=8,
    title="Scores of the filter at equal kept share, captions an image, unsure texts",
    claim="ITM chooses better than the ITC cosine, both together and chance; three captions an "
    "image are better than one, and web texts of which the filter is unsure help",
    paper="(beyond the paper)",
    comparisons=(
        *(Comparison(better="ITM", than=name) for name in ("ITC cosine", "sum of ranks", "random")),
        *(Comparison(better=name, than="ITM") for name in ("3 captions", "unsure web texts, too")),
    ),
    columns=(*TRAINED, *DROPPED, "synthetic_correct_after", "filter_precision", "filter_recall"),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
