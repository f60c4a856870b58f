"""The tables of README.md."""

from typing import Any

RECALLS = tuple(f"{way}{k}" for way in ("tr", "ir") for k in (1, 5, 10))
RANKED = {
    "itc": "ITC alone",
    "logit": "ITC + match logit",
    "log_probability": "ITC + log-probability",
}
FILTER = ("precision", "recall", "kept", "right", "area")


def page(results: dict[str, Any]) -> list[str]:
    """Lines of Markdown: what was run, and its figures with their intervals."""
    return [
        *_describe(results),
        *_retrieval(results["judged"]),
        *_captions(results["judged"]),
        *_gains(results.get("gains", {})),
        *_cleaned(results),
        *_filter(results),
    ]


def _describe(results: dict[str, Any]) -> list[str]:
    steps, seconds = results["steps"], results["seconds"]
    trained = ", ".join(
        f"{name} {steps.get(name, steps['pretrain'])} ({seconds[name]} s)" for name in seconds
    )
    judged = results["judged"]["baseline"]
    return [
        f"Seed {results['seed']}, commit {results['commit']}, {results['machine']}, "
        f"{results['date']}. Steps of 48: {trained}. {judged['images']} photos and "
        f"{judged['texts']} captions of dev; 95 % intervals of {judged['resamples']} samples of "
        f"the photos; k = {judged['candidates']}. Per cent.",
        "",
    ]


def _retrieval(judged: dict[str, Any]) -> list[str]:
    lines = [
        "| model | ranked by | "
        + " | ".join(f"{n[:2].upper()}@{n[2:]}" for n in RECALLS)
        + " | mean |",
        "| --- | --- |" + " --- |" * (len(RECALLS) + 1),
    ]
    for model, found in judged.items():
        for ranking, words in RANKED.items():
            figures = found["retrieval"].get(ranking)
            if figures is not None:
                cells = " | ".join(cell(figures[name]) for name in (*RECALLS, "mean"))
                lines.append(f"| {model} | {words} | {cells} |")
    return [*lines, ""]


def _captions(judged: dict[str, Any]) -> list[str]:
    lines = ["| model | BLEU-4 | CIDEr |", "| --- | --- | --- |"]
    lines += [
        f"| {model} | {cell(found['caption']['bleu4'])} | {cell(found['caption']['cider'])} |"
        for model, found in judged.items()
    ]
    return [*lines, ""]


def _gains(gains: dict[str, Any]) -> list[str]:
    """What each model gains on the baseline, on the same samples of the photos."""
    if not gains:
        return []
    names = {f"{by}_mean": f"mean recall, {words}" for by, words in RANKED.items()}
    names |= {"cider": "CIDEr", "bleu4": "BLEU-4"}
    return [
        f"| less baseline | {' | '.join(names.values())} |",
        "| --- |" + " --- |" * len(names),
        *(
            f"| {model} | {' | '.join(cell(found[name]) for name in names)} |"
            for model, found in gains.items()
        ),
        "",
    ]


def _cleaned(results: dict[str, Any]) -> list[str]:
    """CapFilt on the web pairs whose noise was planted, and on those of the web itself."""
    planted, real = results["capfilt"], results["capfilt_webalt"]
    noise = planted["kept_of_noise"].items()
    return [
        "| CapFilt | Flickr8k, 40 % planted | alt texts, and COCO without |",
        "| --- | --- | --- |",
        *(
            f"| {source} texts kept | {_kept(planted, source)} | {_kept(real, source)} |"
            for source in ("web", "synthetic")
        ),
        *(
            f"| planted {kind.replace('_', ' ')} kept | {found['kept']} of {found['texts']} | |"
            for kind, found in noise
        ),
        *(
            f"| CIDEr of {kind} synthetic texts | {cell(results['synthetic'][kind]['cider'])} | |"
            for kind in ("kept", "dropped")
        ),
        "",
    ]


def _filter(results: dict[str, Any]) -> list[str]:
    """Both scores, each with the threshold of val."""
    chosen = results["threshold"]
    lines = [
        f"CapFilt keeps by {chosen['score'].upper()}, which tells val's captions better.",
        "",
        "| texts | score, threshold | " + " | ".join(FILTER) + " |",
        "| --- | --- |" + " --- |" * len(FILTER),
    ]
    rows = [
        ("val, against another photo's", chosen["val"]),
        ("Flickr8k, planted", results["planted"]),
        ("alt texts: right", results["labelled"]["match"]),
        ("alt texts: right or poor", results["labelled"]["not_wrong"]),
    ]
    for words, found in rows:
        for score, threshold in chosen["thresholds"].items():
            cells = " | ".join(cell(found[score][name]) for name in FILTER)
            where = f"{score.upper()}, {threshold:g}"
            lines.append(f"| {words} ({found['texts']}) | {where} | {cells} |")
    return lines


def _kept(found: dict[str, Any], source: str) -> str:
    kept, dropped = found[f"{source}_kept"], found[f"{source}_dropped"]
    return f"{kept} of {kept + dropped} ({percent(kept / max(kept + dropped, 1))})"


def percent(share: float | None) -> str:
    """A share for people."""
    return "-" if share is None else f"{100 * share:.1f} %"


def cell(figure: list[float | None]) -> str:
    """A figure and its interval."""
    value, low, high = ("-" if number is None else f"{number:.1f}" for number in figure)
    return f"{value} ({low} to {high})"
