"""Table 5: a larger captioner and filter clean the data of a smaller model.

python -m experiments.tables.larger [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys
from dataclasses import replace

from blip.model.config import ModelConfig
from experiments.tables.command import main
from experiments.tables.plan import Plan
from experiments.tables.table import DROPPED, TRAINED, Comparison, Table, Variant, trained


def enlarged(model: ModelConfig) -> ModelConfig:
    """Half as wide again, and a layer deeper: about three times the parameters."""
    vision = replace(model.vision, width=model.vision.width * 3 // 2, depth=model.vision.depth + 1)
    text = replace(
        model.text,
        width=model.text.width * 3 // 2,
        depth=model.text.depth + 1,
        mlp_width=model.text.mlp_width * 3 // 2,
    )
    return replace(model, vision=vision, text=text)


def variants(plan: Plan) -> dict[str, Variant]:
    """The usual model on what the usual and what the larger captioner and filter made."""
    large = plan.sized(enlarged(plan.sizes.model))
    return {
        "none": trained(plan),
        "usual": trained(plan, plan.cut(plan.written(plan.pretrain()))),
        "larger": trained(plan, plan.cut(large.written(large.pretrain()))),
        "larger model, none": trained(large),
    }


TABLE = Table(
    name="larger",
    number=5,
    title="A larger captioner and filter for a smaller model",
    claim="a larger captioner and filter make better data for the same model",
    paper="129 M images, ViT-B: CIDEr 131.4 with the base, 133.3 with the large CapFilt",
    comparisons=(Comparison(better="larger", than="usual"),),
    columns=(*TRAINED, *DROPPED, "synthetic_correct_after", "filter_precision", "filter_recall"),
    variants=variants,
)

if __name__ == "__main__":
    sys.exit(main(TABLE))
