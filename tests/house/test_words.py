"""Code and pages use the words of the paper, PyTorch and transformers, and no private ones."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for folder in ("src", "tests", "benchmarks", "experiments", "docs")
    for ending in ("py", "md")
    for path in sorted((ROOT / folder).rglob(f"*.{ending}"))
    if path != Path(__file__)
] + [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

PRIVATE = {
    r"EndToEnd|lay_end_to_end|laid end to end": "PackedTexts, packed",
    r"ImageMemory|LayerMemory|PairMemory|StateMemory": "ImageKV, LayerKV, PairKV, ImageStates",
    r"PastTexts|empty_past": "KVCache",
    r"\bfollowers?\b(?!\")|\bFollower\b": "momentum encoder",
    r"draw_weights|initial_spread": "init_weights, init_std",
    r"everyones|pairs_to_judge": "gather_texts, itm_inputs",
    r"has strangers": "has unexpected keys",
    r"[Ll]ongest gradient": "max gradient norm",
    r"scalar to be made small": "loss to minimise",
    r"disk_told|one_line_for_disk_errors": "report_disk_errors",
    r"\bsettle\(|`settle`|as_begun": "resolve_auto, resume_settings",
    r"\bdef (alone|together)\b|\bimport .*\balone\b|\.together\(": "exclusive_lock, run_stages",
    r"def _?tell(_|\()|\btelling_of_memory": "describe_, format_, list_, print_, report_",
    r"search_texts|blip\.inference\.search\b": "decode_texts, blip.inference.decoding",
    r"\bis no (key|command|recipe|tokenizer|checkpoint|model)\b": "unknown, is not a",
    r"\b(is|are|be) torn\b|\btorn (tars?|or|for)\b": "is truncated",
    r"^(?!.*DecodingConfig).*\bSearchConfig\b|PUBLISHED_SEARCH": "DecodingConfig, decoding",
    r"draw_negatives|among_likeliest|pick_by_chance": "sample_negatives, keep_top_k",
    r"\brefuse_nan\b|\badjusted\(": "check_nan, apply_penalties",
    r"\btold *(:[^=]+)?=[^=]|\bas told\b|[(,] *told *[,)=:]": "a noun for what a variable holds",
    r"same (command|call) (then )?goes on|goes on with the same": "run the same command again",
    r"\b[Gg]o(es|ing)? on (from|with|where)\b|\b(run|job) goes on\b": "resume",
    r"\b[Cc]ut anew\b": "recut",
    r"\bbegins? anew\b|\bwritten anew\b": "start from the beginning",
    r"make room, (and (give|the)|then)": "free some space",
    r"is there already": "already exists",
    r"turned upright|laid on white": "rotated by EXIF, transparency put on white",
    r"no run of .* is known to have made": "which ... did not make",
}
"""Words that went, and what stands in their place."""


@pytest.mark.parametrize("word", PRIVATE, ids=PRIVATE.values())
def test_no_private_word_came_back(word: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in PAGES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(word, line)
    ]
    assert not found, f"say {PRIVATE[word]}: {', '.join(found)}"
