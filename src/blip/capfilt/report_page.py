"""The HTML of report.html: one file with its style and pictures in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from blip.capfilt.record import OF_TEXTS, Counts, TextRecord

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5c6670; --ground: #fff; --line: #d9dee3;
  --web: #b4690e; --synthetic: #1f6fb2; --kept: #1a7f4b; --dropped: #b3362b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b0; --ground: #15191d;
  --line: #343b42; --web: #e0a04a; --synthetic: #6cb2ee; --kept: #56c98d; --dropped: #ee8378; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; color: var(--ink);
  background: var(--ground); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; color: var(--soft); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem 1rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; vertical-align: top; }
td.n, th.n { text-align: right; } th { font-weight: 600; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; } svg text { fill: var(--soft); }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); }
@media (max-width: 26rem) { .cards { grid-template-columns: 1fr; } }
.card { display: flex; gap: .75rem; border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem; }
.card img, .none { flex: none; width: 112px; height: 112px; object-fit: contain; }
.none { display: grid; place-items: center; color: var(--soft); font-size: .8rem; }
.card ul { list-style: none; margin: 0; padding: 0; min-width: 0; font-size: .9rem; }
.card li { margin-bottom: .5rem; overflow-wrap: anywhere; }
.card small { display: block; color: var(--soft); }
.web { color: var(--web); } .synthetic { color: var(--synthetic); }
.kept { color: var(--kept); } .dropped { color: var(--dropped); }
"""
TEXT_SHOWN = 240
"""Characters of a text in a card."""
CHART_WIDTH, CHART_HEIGHT = 560, 180


@dataclass(frozen=True, slots=True)
class Card:
    """A sample on the page."""

    picture: str | None
    """Data address of a small picture."""
    records: Sequence[TextRecord]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """All that the page shows."""

    counts: Counts
    settings: dict[str, Any]
    shards: int
    bins: dict[str, list[int]]
    """Of each source, texts by score: equal bins from 0 to 1."""
    threshold: float
    sections: Sequence[tuple[str, str, Sequence[Card]]]
    """Title, meaning, samples."""
    bad: Sequence[TextRecord]


def render(page: Page) -> str:
    """The whole file; the same page gives the same bytes."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>CapFilt report</title><style>{STYLE}</style></head><body>",
        *_totals(page),
        *_histograms(page),
        *_reasons(page.counts),
        *_cards(page),
        *_bad(page),
        *_settings(page.settings),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _totals(page: Page) -> Iterator[str]:
    counts = page.counts
    yield "<h1>CapFilt report</h1>"
    yield (
        f"<p>{counts.images:,} samples in {page.shards:,} shards: {counts.images_kept:,} kept with "
        f"a text or more, {counts.images_dropped:,} dropped, {counts.images_bad:,} bad.</p>"
    )
    yield '<table><tr><th>texts</th><th class="n">kept</th><th class="n">dropped</th>'
    yield '<th class="n">kept share</th></tr>'
    for source in ("web", "synthetic"):
        kept, dropped = getattr(counts, f"{source}_kept"), getattr(counts, f"{source}_dropped")
        share = f"{kept / (kept + dropped):.1%}" if kept + dropped else "-"
        yield (
            f'<tr><td class="{source}">{source}</td><td class="n">{kept:,}</td>'
            f'<td class="n">{dropped:,}</td><td class="n">{share}</td></tr>'
        )
    yield "</table>"


def _histograms(page: Page) -> Iterator[str]:
    yield "<h2>Match probability</h2>"
    yield (
        f"<p>Texts by ITM score; those at {page.threshold:g} (dashed) and above are kept. "
        "Texts of which nothing is left to score are not drawn.</p>"
    )
    for source, bins in page.bins.items():
        if sum(bins):
            yield _histogram(source, bins, page.threshold)


def _histogram(source: str, bins: Sequence[int], threshold: float) -> str:
    top, width = max(bins), CHART_WIDTH / len(bins)
    base = CHART_HEIGHT - 24
    bars = []
    for number, count in enumerate(bins):
        height = (base - 24) * count / top
        bars.append(
            f'<rect x="{number * width + 1:.1f}" y="{base - height:.1f}" width="{width - 2:.1f}" '
            f'height="{height:.1f}" fill="var(--{source})">'
            f"<title>{number / len(bins):.2f} to {(number + 1) / len(bins):.2f}: {count:,}</title>"
            "</rect>"
        )
    ticks = [
        f'<text x="{share * CHART_WIDTH:.0f}" y="{CHART_HEIGHT - 6}" text-anchor="{anchor}" '
        f'font-size="12">{share:g}</text>'
        for share, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"))
    ]
    x = threshold * CHART_WIDTH
    return (
        f'<svg viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" width="{CHART_WIDTH}" role="img" '
        f'aria-label="Scores of {source} texts">'
        f'<text x="0" y="14" font-size="13">{source} texts: {sum(bins):,} (most in a bar '
        f"{top:,})</text>{''.join(bars)}"
        f'<line x1="0" x2="{CHART_WIDTH}" y1="{base}" y2="{base}" stroke="var(--line)"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{base}" stroke="var(--soft)" '
        f'stroke-dasharray="4 3"/>{"".join(ticks)}'
        f'<text x="{CHART_WIDTH}" y="{CHART_HEIGHT - 6}" text-anchor="end" font-size="12">1</text>'
        "</svg>"
    )


def _reasons(counts: Counts) -> Iterator[str]:
    yield "<h2>Reasons</h2>"
    yield "<p>What became of every text, and what is wrong with bad samples.</p>"
    yield '<table><tr><th>reason</th><th>of</th><th class="n">count</th></tr>'
    for reason, count in sorted(counts.reasons.items(), key=lambda item: (-item[1], item[0])):
        of = "text" if reason in OF_TEXTS else "bad sample"
        yield (f'<tr><td>{escape(reason)}</td><td>{of}</td><td class="n">{count:,}</td></tr>')
    yield "</table>"


def _cards(page: Page) -> Iterator[str]:
    for title, meaning, cards in page.sections:
        if not cards:
            continue
        yield f"<h2>{escape(title)}</h2><p>{escape(meaning)}; the most changed first.</p>"
        yield '<div class="cards">'
        yield from (_card(card) for card in cards)
        yield "</div>"


def _card(card: Card) -> str:
    picture = '<span class="none">no picture</span>'
    if card.picture is not None:
        picture = f'<img src="{escape(card.picture)}" alt="" loading="lazy">'
    items = "".join(_item(record) for record in card.records)
    key = escape(f"{card.records[0].shard} / {card.records[0].key}")
    return f'<div class="card" title="{key}">{picture}<ul>{items}</ul></div>'


def _item(record: TextRecord) -> str:
    text = record.text[:TEXT_SHOWN] + ("..." if len(record.text) > TEXT_SHOWN else "")
    verdict = "kept" if record.kept else "dropped"
    score = "" if record.itm_score is None else f" {record.itm_score:.3f}"
    return (
        f'<li><span dir="auto">{escape(text) or "(no text)"}</span>'
        f'<small><span class="{record.source}">{record.source}</span> '
        f'<span class="{verdict}">{verdict}</span>{score} ({escape(record.reason)})</small></li>'
    )


def _bad(page: Page) -> Iterator[str]:
    if not page.bad:
        return
    yield "<h2>Bad samples</h2>"
    yield f"<p>The first {len(page.bad)} of {page.counts.images_bad:,}; the ledger has all.</p>"
    yield '<div class="wide"><table><tr><th>shard</th><th>key</th><th>error</th></tr>'
    for record in page.bad:
        cells = (record.shard, record.key, record.error or record.reason)
        yield "<tr>" + "".join(f"<td>{escape(cell[:200])}</td>" for cell in cells) + "</tr>"
    yield "</table></div>"


def _settings(settings: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Settings</h2><p>The output depends on these and the input, on nothing else.</p>"
    yield "<table>"
    for name, value in settings.items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{inner} {entry!r}" for inner, entry in value.items())
        yield f"<tr><td>{escape(name)}</td><td>{escape(str(shown))}</td></tr>"
    yield "</table>"
