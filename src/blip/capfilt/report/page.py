"""The HTML of report.html: one file with its style and pictures in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from blip.capfilt.ledger.records import OF_TEXTS, Counts, TextRecord
from blip.capfilt.report.charts import draw_bars
from blip.capfilt.report.findings import SOURCES, Findings, Histogram, changed_words

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
figure { margin: .5rem 0 1rem; } figcaption { font-size: .9rem; } small { color: var(--soft); }
.charts { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
.words { columns: 12rem auto; max-width: 60rem; padding: 0; list-style: none; }
.words li { display: flex; gap: .75rem; font-variant-numeric: tabular-nums; }
.words b { flex: 1; font-weight: 400; overflow-wrap: anywhere; }
nav { position: sticky; top: 0; padding: .5rem 0; background: var(--ground); z-index: 1;
  border-bottom: 1px solid var(--line); font-size: .9rem; }
nav a { color: inherit; margin-right: 1rem; } section { scroll-margin-top: 3rem; }
summary { cursor: pointer; margin: 1rem 0; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .3em;
  background: currentColor; } .light::before { opacity: .45; }
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
TEXTS_SHOWN = 8
"""Texts of a card."""
CARDS_OPEN = 12
"""Cards of a kind that are seen at once; the others are unfolded."""
WORDS_SHOWN = 24


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
    findings: Findings
    threshold: float
    sections: Sequence[tuple[str, str, Sequence[Card]]]
    """Title, meaning, samples."""


def render(page: Page) -> str:
    """The whole file; the same page gives the same bytes."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>CapFilt report</title><style>{STYLE}</style></head><body>",
        *_totals(page),
        *_navigation(page),
        *_scores(page),
        *_reasons(page.counts),
        *_texts(page),
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
    for source in SOURCES:
        kept, dropped = getattr(counts, f"{source}_kept"), getattr(counts, f"{source}_dropped")
        share = f"{kept / (kept + dropped):.1%}" if kept + dropped else "-"
        yield (
            f'<tr><td class="{source}">{source}</td><td class="n">{kept:,}</td>'
            f'<td class="n">{dropped:,}</td><td class="n">{share}</td></tr>'
        )
    yield "</table>"


def _navigation(page: Page) -> Iterator[str]:
    links = [("scores", "Scores"), ("reasons", "Reasons"), ("texts", "Texts")]
    for number, (title, _, cards) in enumerate(page.sections):
        if cards:
            links.append((f"kind-{number}", f"{title} ({len(cards)})"))
    if page.findings.bad:
        links.append(("bad", "Bad samples"))
    links.append(("settings", "Settings"))
    inner = "".join(f'<a href="#{place}">{escape(name)}</a>' for place, name in links)
    yield f"<nav>{inner}</nav>"


def _scores(page: Page) -> Iterator[str]:
    yield '<section id="scores"><h2>Scores</h2>'
    yield (
        f"<p>Texts by ITM probability, of which {page.threshold:g} (dashed) is the least allowed, "
        'and by ITC cosine: <span class="key kept">kept</span>, <span class="key light dropped">'
        "dropped</span>. Texts of which nothing is left to score are not drawn.</p>"
    )
    quarters = (0, 0.25, 0.5, 0.75, 1)
    yield from _charts("ITM probability", page.findings.itm, quarters, page.threshold)
    min_itc = page.settings.get("rules", {}).get("min_itc")
    yield from _charts("ITC cosine", page.findings.itc, (-1, -0.5, 0, 0.5, 1), min_itc)
    yield "</section>"


def _charts(
    title: str, of_sources: dict[str, Histogram], ticks: Sequence[float], mark: float | None
) -> Iterator[str]:
    yield '<div class="charts">'
    for source, histogram in of_sources.items():
        if histogram.total:
            yield draw_bars(f"{title}, {source} texts", histogram, ticks, mark)
    yield "</div>"


def _reasons(counts: Counts) -> Iterator[str]:
    yield '<section id="reasons"><h2>Reasons</h2>'
    yield "<p>What became of every text, and what is wrong with bad samples.</p>"
    yield '<table><tr><th>reason</th><th>of</th><th class="n">count</th></tr>'
    for reason, count in sorted(counts.reasons.items(), key=lambda item: (-item[1], item[0])):
        of = "text" if reason in OF_TEXTS else "bad sample"
        yield (f'<tr><td>{escape(reason)}</td><td>{of}</td><td class="n">{count:,}</td></tr>')
    yield "</table></section>"


def _texts(page: Page) -> Iterator[str]:
    words = page.findings.words
    yield '<section id="texts"><h2>Texts</h2><p>Texts by their words.</p>'
    yield from _charts("Words", page.findings.lengths, (1, 10, 20, 30, 40), None)
    if not (words.texts_before and words.texts_after):
        yield "</section>"
        return
    yield (
        f"<p>The vocabulary before, of {words.texts_before:,} web texts, and after, of "
        f"{words.texts_after:,} texts that were kept (of some shards of the job).</p>"
    )
    yield '<table><tr><th></th><th class="n">before</th><th class="n">after</th></tr>'
    of_both = (words.before, words.texts_before), (words.after, words.texts_after)
    for name, values in (
        ("different words", [f"{len(counter):,}" for counter, _ in of_both]),
        ("that stand once", [f"{list(c.values()).count(1):,}" for c, _ in of_both]),
        ("words a text", [f"{counter.total() / texts:.1f}" for counter, texts in of_both]),
        (
            "gone, new",
            [
                f"{len(words.before.keys() - words.after.keys()):,}",
                f"{len(words.after.keys() - words.before.keys()):,}",
            ],
        ),
    ):
        cells = "".join(f'<td class="n">{value}</td>' for value in values)
        yield f"<tr><td>{name}</td>{cells}</tr>"
    yield "</table><h3>Words whose share changed the most</h3>"
    yield '<p>Of all words before, and of all after.</p><ul class="words">'
    for word, before, after in changed_words(words, WORDS_SHOWN):
        yield (
            f'<li><b dir="auto">{escape(word[:40])}</b><small>{before:.2%}</small>'
            f"<span>{after:.2%}</span></li>"
        )
    yield "</ul></section>"


def _cards(page: Page) -> Iterator[str]:
    for number, (title, meaning, cards) in enumerate(page.sections):
        if not cards:
            continue
        yield f'<section id="kind-{number}"><h2>{escape(title)}</h2>'
        yield f"<p>{escape(meaning)}. The most changed first.</p>"
        yield '<div class="cards">'
        yield from (_card(card) for card in cards[:CARDS_OPEN])
        yield "</div>"
        if more := cards[CARDS_OPEN:]:
            yield f'<details><summary>{len(more)} more</summary><div class="cards">'
            yield from (_card(card) for card in more)
            yield "</div></details>"
        yield "</section>"


def _card(card: Card) -> str:
    picture = '<span class="none">no picture</span>'
    if card.picture is not None:
        picture = f'<img src="{escape(card.picture)}" alt="" loading="lazy">'
    items = "".join(_item(record) for record in card.records[:TEXTS_SHOWN])
    if more := len(card.records) - TEXTS_SHOWN:
        items += f"<li><small>and {more} more texts</small></li>" if more > 0 else ""
    key = escape(f"{card.records[0].shard[:80]} / {card.records[0].key}")
    return f'<div class="card" title="{key}">{picture}<ul>{items}</ul></div>'


def _item(record: TextRecord) -> str:
    text = record.text[:TEXT_SHOWN] + ("..." if len(record.text) > TEXT_SHOWN else "")
    verdict = "kept" if record.kept else "dropped"
    scores = "" if record.itm_score is None else f" ITM {record.itm_score:.3f}"
    if record.itc_cosine is not None:
        scores += f", ITC {record.itc_cosine:.3f}"
    why = "" if record.kept else f" ({escape(record.reason)})"
    return (
        f'<li><span dir="auto">{escape(text) or "(no text)"}</span>'
        f'<small><span class="{record.source}">{record.source}</span> '
        f'<span class="{verdict}">{verdict}</span>{why}{scores}</small></li>'
    )


def _bad(page: Page) -> Iterator[str]:
    bad = page.findings.bad
    if not bad:
        return
    yield '<section id="bad"><h2>Bad samples</h2>'
    yield f"<p>The first {len(bad)} of {page.counts.images_bad:,}; the ledger has all.</p>"
    yield '<div class="wide"><table><tr><th>shard</th><th>key</th><th>error</th></tr>'
    for record in bad:
        cells = (record.shard, record.key, record.error or record.reason)
        yield "<tr>" + "".join(f"<td>{escape(cell[:200])}</td>" for cell in cells) + "</tr>"
    yield "</table></div></section>"


def _settings(settings: dict[str, Any]) -> Iterator[str]:
    yield '<section id="settings"><h2>Settings</h2>'
    yield "<p>The output depends on these and the input, on nothing else.</p><table>"
    for name, value in sorted(settings.items()):
        shown = value
        if isinstance(value, dict):
            given = {
                n: entry for n, entry in sorted(value.items()) if entry not in (None, [], False)
            }
            shown = ", ".join(f"{inner} {entry!r}" for inner, entry in given.items()) or "none"
        yield f"<tr><td>{escape(name)}</td><td>{escape(str(shown))}</td></tr>"
    yield "</table></section>"
