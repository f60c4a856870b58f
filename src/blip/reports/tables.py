"""Figures of a summary as rows of text."""

from typing import Any

NAMES = {
    "retrieval.tr1": "image to text, R@1 %",
    "retrieval.tr5": "image to text, R@5 %",
    "retrieval.tr10": "image to text, R@10 %",
    "retrieval.ir1": "text to image, R@1 %",
    "retrieval.ir5": "text to image, R@5 %",
    "retrieval.ir10": "text to image, R@10 %",
    "retrieval.true_first_text": "images whose first text is true, %",
    "retrieval.true_first_image": "texts that are true of their first image, %",
    "retrieval_by_score.logit.tr1": "image to text, R@1 %, by ITM's logit",
    "retrieval_by_score.logit.ir1": "text to image, R@1 %, by ITM's logit",
    "retrieval_by_score.log_probability.tr1": "image to text, R@1 %, by its log-probability",
    "retrieval_by_score.log_probability.ir1": "text to image, R@1 %, by its log-probability",
    "caption.cider": "captions, CIDEr",
    "caption.bleu4": "captions, BLEU-4",
    "caption.correct": "captions, true %",
}
"""Figures of a model by their path: those by the score that was chosen, and R@1 by both."""


def comparison_rows(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Baseline beside bootstrapped model, a row a measure."""
    rows = []
    for path, name in NAMES.items():
        values = [figure(summary[model], path) for model in ("baseline", "bootstrapped")]
        cells = [f"{value:.1f}" for value in values if value is not None]
        if len(cells) == len(values):
            rows.append((name, *cells))
    return rows


def figure(figures: dict[str, Any], path: str) -> float | None:
    """The figure of a model at a path of `NAMES`; shares in per cent. None where it is unknown."""
    value: Any = figures
    for key in path.split("."):
        value = (value or {}).get(key)
    return value if value is None or path != "caption.correct" else 100.0 * value


def capfilt_rows(capfilt: dict[str, Any]) -> list[tuple[str, str]]:
    """What CapFilt kept and how well it chose."""
    rows = [("images", str(capfilt["images"]))]
    for source in ("web", "synthetic"):
        kept, dropped = capfilt[f"{source}_kept"], capfilt[f"{source}_dropped"]
        share = 100.0 * kept / max(kept + dropped, 1)
        rows.append((f"{source} texts kept", f"{kept} of {kept + dropped} ({share:.1f} %)"))
    names = {
        "prevalence": "web texts that match",
        "filter_precision": "kept web texts that match (precision)",
        "filter_recall": "matching web texts that are kept (recall)",
        "synthetic_correct_before": "synthetic texts that are true, before the filter",
        "synthetic_correct_after": "synthetic texts that are true, after the filter",
    }
    for key, name in names.items():
        if capfilt.get(key) is not None:
            rows.append((name, f"{100.0 * capfilt[key]:.1f} %"))
    return rows


def noise_rows(capfilt: dict[str, Any]) -> list[tuple[str, str, str]]:
    """How many noisy texts of each kind there are, and passed the filter; none where unknown."""
    return [
        (kind.replace("_", " "), str(count["texts"]), str(count["kept"]))
        for kind, count in capfilt.get("kept_of_noise", {}).items()
    ]
