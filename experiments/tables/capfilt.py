"""Table 1: CapFilt's two parts, at two sizes of the web set.

python -m experiments.tables.capfilt [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys

from experiments.tables.command import main
from experiments.tables.cut import Rule
from experiments.tables.plan import Plan
from experiments.tables.table import RECALLS, TRAINED, Comparison, Table, Variant, trained

WEB = {"small": 1, "large": 2}
"""Web sets, and how many times the usual one they are."""
PARTS: dict[str, Rule] = {"filter": "web", "captioner": "all", "both": "itm"}
"""What a part keeps: web texts that match, all texts of both sources, those of both that match."""


def variants(plan: Plan) -> dict[str, Variant]:
    """The parts at each size, with as many steps, then with as many epochs, as without CapFilt."""
    found: dict[str, Variant] = {}
    for size, factor in WEB.items():
        at = plan.drawn(web=plan.scenes_config.web * factor)
        job = at.written(at.pretrain())
        found[f"none, {size}"] = trained(at)
        for words, equal_epochs in (("", False), (", equal epochs", True)):
            for part, rule in PARTS.items():
                cut = at.cut(job, rule)
                found[f"{part}, {size}{words}"] = trained(at, cut, equal_epochs=equal_epochs)
    return found


TABLE = Table(
    name="capfilt",
    number=1,
    title="CapFilt: captioner and filter, alone and together",
    claim="captioner and filter together help, and more than either alone",
    paper="14 M images: COCO TR@1/IR@1 78.4/60.7 without, 80.6/63.1 with both, CIDEr 127.8, 129.7; "
    "129 M: 79.6/62.0, 81.9/64.3 and 130.1, 131.4",
    comparisons=tuple(
        Comparison(better=f"both, {size}{words}", than=f"{other}, {size}{words if more else ''}")
        for size in WEB
        for words in ("", ", equal epochs")
        for other, more in (("none", False), ("filter", True), ("captioner", True))
    ),
    columns=("steps", *TRAINED, *(f"logit_{name}" for name in RECALLS)),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
