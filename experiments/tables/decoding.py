"""Table 2: nucleus sampling beside beam search and greedy decoding for the captioner.

python -m experiments.tables.decoding [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys
from dataclasses import replace

from experiments.tables.command import main
from experiments.tables.plan import Plan
from experiments.tables.table import DROPPED, TRAINED, Comparison, Table, Variant, trained


def variants(plan: Plan) -> dict[str, Variant]:
    """CapFilt with each way to write synthetic texts; the filter is the same."""
    decodings = {
        "nucleus": plan.sizes.synthesis,
        "beam": replace(plan.sizes.synthesis, kind="beam", beams=3),
        "greedy": replace(plan.sizes.synthesis, kind="greedy"),
    }
    model = plan.pretrain()
    return {"none": trained(plan)} | {
        name: trained(plan, plan.cut(plan.written(model, decoding=decoding)))
        for name, decoding in decodings.items()
    }


TABLE = Table(
    name="decoding",
    number=2,
    title="Nucleus sampling beside beam search and greedy decoding",
    claim="texts by nucleus sampling are noisier and more diverse, and train better",
    paper="dropped 25 % by nucleus, 19 % by beam; CIDEr 129.7, 128.9",
    comparisons=tuple(
        Comparison(better="nucleus", than=other, figures=figures)
        for other in ("beam", "greedy")
        for figures in (("r1", "cider"), ("synthetic_dropped", "distinct3"))
    ),
    columns=(*TRAINED, *DROPPED, "vocabulary", "distinct1", "distinct2", "distinct3"),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
