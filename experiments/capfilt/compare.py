"""How well CapFilt keeps and drops: by threshold, decoding, captions an image, and coupled models.

    python experiments/capfilt/compare.py --demos runs/seeds/seed0 runs/seeds/seed1 --out DIR

Each of `--demos` is a finished run of `blip demo`. Its captioner, filter and pre-trained model
write and judge texts for its web images; the truth is known, for the scenes were drawn. Prints the
tables, and writes them into README.md and results.json beside this file.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.filters.config import FilterRules
from blip.capfilt.filters.decide import decide
from blip.capfilt.job import run
from blip.capfilt.ledger.files import find_ledgers, read_groups
from blip.config import strict
from blip.data.config import DataConfig, SourceConfig
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.scenes.check import check_facts
from blip.data.scenes.scene import Scene
from blip.files import write_json
from blip.recipes.config import BootstrapConfig
from blip.reports.origin import origin
from blip.tasks.config import PretrainConfig

HERE = Path(__file__).parent
THRESHOLDS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
CHOSEN = 0.25
"""The demo's own threshold."""
DECODINGS = {
    "nucleus": lambda base: base,
    "beam": lambda base: replace(base, kind="beam", beams=3),
    "greedy": lambda base: replace(base, kind="greedy"),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to write and judge texts."""

    name: str
    decoding: str = "nucleus"
    captions: int = 1
    models: str = "decoupled"


VARIANTS = (
    Variant("nucleus, decoupled"),
    Variant("beam, decoupled", decoding="beam"),
    Variant("greedy, decoupled", decoding="greedy"),
    Variant("nucleus, 3 captions, decoupled", captions=3),
    Variant("nucleus, coupled", models="coupled"),
    Variant("nucleus, pre-trained for both", models="pre-trained"),
)


def main() -> int:
    """Run what is not there, count, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demos", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--variants", nargs="+", choices=names, default=names, help="(all)")
    parser.add_argument("--shards", type=int, default=16, metavar="N", help="web shards used (16)")
    parser.add_argument("--workers", type=int, metavar="N")
    args = parser.parse_args()
    found = [
        {
            variant.name: measure(demo, args.out / demo.name, variant, args)
            for variant in VARIANTS
            if variant.name in args.variants
        }
        for demo in args.demos
    ]
    tables = "\n".join(describe(found))
    print(tables)
    write_json(HERE / "results.json", {"demos": found, **origin(HERE)})
    readme = HERE / "README.md"
    if readme.is_file():
        marks = r"(?<=<!-- tables -->\n).*(?=<!-- end -->)"
        text = re.sub(marks, lambda _: tables + "\n", readme.read_text("utf-8"), flags=re.S)
        readme.write_text(text, encoding="utf-8")
    return 0


def measure(demo: Path, out: Path, variant: Variant, args: argparse.Namespace) -> dict[str, Any]:
    """Do the job of a variant, unless it is done, and count."""
    config = strict.from_json(BootstrapConfig, strict.load_json(demo / "config.json"))
    captioner, matcher = models_of(demo, out, config, variant.models)
    web = [str(path) for path in expand([str(demo / "data/web")])[: args.shards]]
    job = CapFiltConfig(
        captioner=str(captioner),
        filter=str(matcher),
        data=tuple(web),
        out=str(out / re.sub(r"\W+", "-", variant.name)),
        # Everything is kept: thresholds are looked at in the ledger.
        threshold=0.0,
        seed=config.seed,
        captions=variant.captions,
        decoding=DECODINGS[variant.decoding](config.synthesis),
        batch_size=32,
        workers=args.workers,
    )
    run(job)
    metas = {sample.key: sample.meta for shard in web for sample in read_shard(shard)}
    return count(Path(job.out), metas)


def models_of(demo: Path, out: Path, config: BootstrapConfig, models: str) -> tuple[Path, Path]:
    """Captioner and filter; the coupled model is trained here."""
    match models:
        case "decoupled":
            return demo / "round-1/captioner", demo / "round-1/filter"
        case "pre-trained":
            return demo / "round-1/pretrain", demo / "round-1/pretrain"
        case _:
            coupled = out / "coupled"
            if not (coupled / "done").is_file():
                train_coupled(demo, coupled, config)
                (coupled / "done").touch()
            return coupled, coupled


def train_coupled(demo: Path, out: Path, config: BootstrapConfig) -> None:
    """One model, LM + ITC + ITM on the human pairs, for as many steps as the captioner had."""
    from blip.tasks import pretrain

    before = strict.load_json(demo / "round-1/pretrain/config.json")
    data = DataConfig(
        sources=(SourceConfig(name="human", shards=(str(demo / "data/human"),)),),
        batch_size=config.batch_size,
        image=config.image,
        max_tokens=config.max_tokens,
        seed=config.seed + 1,
    )
    model = strict.from_json(PretrainConfig, before).model
    training = PretrainConfig(
        model=model,
        tokenizer=str(demo / "tokenizer"),
        data=data,
        train=replace(config.captioner, seed=config.seed + 1),
        contrastive=replace(config.contrastive, positives="image"),
        language=config.language,
        init=str(demo / "round-1/pretrain"),
    )
    pretrain.train(training, out)


def count(job: Path, metas: dict[str, Any]) -> dict[str, Any]:
    """Precision and recall of web and synthetic texts by threshold, and of an image's best text."""
    columns: dict[str, list[tuple[float, bool, bool]]] = {"web": [], "synthetic": []}
    texts: list[str] = []
    for row, is_best in rows_of(job):
        if row["source"] not in columns:
            continue
        meta = metas[row["key"]]
        if row["source"] == "web":
            right = bool(meta["truth"]["matches"])
        else:
            right = check_facts(row["text"], Scene.from_json(meta["scene"])).correct
            texts.append(row["text"])
        score = -1.0 if row["itm_score"] is None else row["itm_score"]
        columns[row["source"]].append((score, right, is_best))
    counts: dict[str, Any] = {
        "images": len(metas),
        "different": len(set(texts)),
        "words": len({word for text in texts for word in text.split()}),
    }
    for source, entries in columns.items():
        scores, right, best = (np.array(column) for column in zip(*entries, strict=True))
        counts[source] = [quality(scores, right, threshold) for threshold in THRESHOLDS]
        counts[f"{source}_best"] = quality(scores[best], right[best], CHOSEN)
    return counts


def rows_of(job: Path) -> Iterator[tuple[dict[str, Any], bool]]:
    """Rows of a ledger, and whether each is the likeliest synthetic text of its image."""
    for path in find_ledgers(job):
        for group in read_groups(path):
            synthetic = group.filter(_is_synthetic(group))
            best = decide(synthetic, 0.0, FilterRules(keep="best-1"))
            kept = zip(best["key"].to_pylist(), best["number"].to_pylist(), strict=True)
            chosen = {
                place for place, keep in zip(kept, best["kept"].to_pylist(), strict=True) if keep
            }
            for row in group.to_pylist():
                is_best = row["source"] == "web" or (row["key"], row["number"]) in chosen
                yield row, is_best


def _is_synthetic(group: Any) -> Any:
    import pyarrow as pa

    return pa.array([source == "synthetic" for source in group["source"].to_pylist()])


def quality(scores: np.ndarray, right: np.ndarray, threshold: float) -> dict[str, float]:
    """Of the texts with some score or more."""
    kept = scores >= threshold
    return {
        "threshold": threshold,
        "texts": len(scores),
        "right": float(right.mean()),
        "dropped": float(1.0 - kept.mean()),
        "precision": float((kept & right).sum() / max(kept.sum(), 1)),
        "recall": float((kept & right).sum() / max(right.sum(), 1)),
    }


def describe(found: list[dict[str, Any]]) -> Iterator[str]:
    """The tables as Markdown; means over the demos, and least and greatest where there are some."""
    measured = [variant for variant in VARIANTS if variant.name in found[0]]
    images = statistics.mean(run[measured[0].name]["images"] for run in found)
    right = _mean(run[measured[0].name]["web"][0]["right"] for run in found)
    own = [v for v in measured if (v.decoding, v.captions) == ("nucleus", 1)]
    yield f"Web texts of {images:,.0f} images by threshold, {_seeds(found)}; precision / recall in"
    yield f"%. Kept as they are, {right} % match.\n"
    yield from _by_threshold(found, "web", {v.name: f"filter: {FILTERS[v.models]}" for v in own})
    yield f"\nSynthetic texts, kept at {CHOSEN:g}, in %:\n"
    columns = (
        "different texts",
        "true before",
        "dropped",
        "true of the kept",
        "kept of the true",
        "true of the kept, best of an image",
    )
    yield "| | " + " | ".join(columns) + " |"
    yield "| --- |" + " --- |" * len(columns)
    at = THRESHOLDS.index(CHOSEN)
    for variant in measured:
        runs = [run[variant.name] for run in found]
        of = [run["synthetic"][at] for run in runs]
        different = statistics.mean(run["different"] for run in runs)
        best = _mean(run["synthetic_best"]["precision"] for run in runs)
        keys = ("right", "dropped", "precision", "recall")
        cells = [f"{different:,.0f}", *(_mean(one[key] for one in of) for key in keys), best]
        yield f"| {variant.name} | " + " | ".join(cells) + " |"
    yield "\nSynthetic texts by threshold, precision / recall in %:\n"
    yield from _by_threshold(found, "synthetic", {v.name: v.name for v in measured})


FILTERS = {
    "decoupled": "its own model",
    "coupled": "the captioner, trained for both",
    "pre-trained": "the pre-trained model",
}


def _by_threshold(found: list[dict[str, Any]], source: str, names: dict[str, str]) -> Iterator[str]:
    yield "| threshold | " + " | ".join(names.values()) + " |"
    yield "| --- |" + " --- |" * len(names)
    for place, threshold in enumerate(THRESHOLDS):
        cells = [
            " / ".join(
                _mean(run[name][source][place][key] for run in found)
                for key in ("precision", "recall")
            )
            for name in names
        ]
        yield f"| {threshold:g} | " + " | ".join(cells) + " |"


def _seeds(found: list[dict[str, Any]]) -> str:
    return "one seed" if len(found) == 1 else f"{len(found)} seeds (mean, least..greatest)"


def _mean(values: Iterator[float]) -> str:
    """The mean in per cent, and the least and greatest where there are several."""
    per_cent = [100.0 * value for value in values]
    text = f"{statistics.mean(per_cent):.1f}"
    if len(per_cent) > 1:
        text += f" ({min(per_cent):.1f}..{max(per_cent):.1f})"
    return text


if __name__ == "__main__":
    sys.exit(main())
