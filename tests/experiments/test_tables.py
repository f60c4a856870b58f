"""The tables on scenes: nothing is done twice, claims are tried by a rule, pages are filled."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from blip.capfilt.ledger.files import records_to_table
from blip.errors import BlipError
from blip.recipes.bootstrap import scenes_test
from blip.stage import Stage
from experiments.tables import command, page
from experiments.tables.continued import TABLE as CONTINUED
from experiments.tables.cut import FIGURES, CutConfig, choose, diversity
from experiments.tables.decoupled import TABLE as DECOUPLED
from experiments.tables.every import TABLES
from experiments.tables.graph import Node, in_order, make_node, run_nodes
from experiments.tables.plan import Plan, sizes
from experiments.tables.table import Variant
from experiments.tables.verdict import compare, outcome, verdict
from experiments.tables.work import Pretraining
from tests.support.records import record
from tests.support.stages import KIND, CountThreads, Fail

_RECIPE = scenes_test()
TWICE = "anew, twice the steps"
TINY = replace(
    _RECIPE,
    data=replace(_RECIPE.data, human=12, web=24, val=1, test=6),
    pretrain=replace(_RECIPE.pretrain, steps=2, evaluate_every=None),
    next_pretrain=replace(_RECIPE.next_pretrain, steps=2, evaluate_every=None),
    captioner=replace(_RECIPE.captioner, steps=1),
    filter=replace(_RECIPE.filter, steps=1),
)
TITLE = "# Page\n"
PLACES = "".join(f"<!-- {table.name} -->\nNOTHING YET\n<!-- end -->\n" for table in TABLES)


def run(table, folder: Path, *words: str) -> int:
    places = ("--out", str(folder / "runs"), "--results", str(folder / "tables"))
    return command.main(table, argv=("--seeds", "0", *places, *words), recipe=TINY)


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/README.md").write_text(TITLE + PLACES)
    (tmp_path / "README.md").write_text("<!-- summary -->\n<!-- end -->\n")
    return tmp_path


def test_a_cut_run_goes_on_and_tables_share_their_stages(
    pages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    did: Counter[str] = Counter()
    whole = Stage.run

    def note(stage: Stage) -> None:
        if len(did) == 6 and "cut" not in did:
            did["cut"] += 1
            raise KeyboardInterrupt
        whole(stage)
        did[stage.name] += 1

    monkeypatch.setattr(Stage, "run", note)
    assert run(DECOUPLED, pages, "--parallel", "1") == 130
    ended = capsys.readouterr().err.splitlines()[-1]
    assert ended == "tables: stopped; run the same command again to resume"
    assert run(DECOUPLED, pages, "--parallel", "1") == 0
    assert capsys.readouterr().out.endswith("0 of 15 stages are left\n")
    assert len(did) == 15 + 1
    assert set(did.values()) == {1}
    # Continued training needs P0 and the data set of the decoupled models, which are there.
    assert run(CONTINUED, pages, "--parallel", "1") == 0
    assert len(did) == 15 + 1 + 6
    assert set(did.values()) == {1}
    check_results(pages, did)


def check_results(pages: Path, did: Counter[str]) -> None:
    """Both tables are on both pages, and stay there when the runs are gone."""
    results = {path.stem: json.loads(path.read_text()) for path in pages.rglob("results/*.json")}
    anew, decoupled = results["continued"]["runs"]["anew"], results["decoupled"]["runs"]
    assert anew == decoupled["decoupled"]
    assert set(decoupled["coupled"]["0"]["stages"].split()) <= did.keys()
    assert decoupled["decoupled"]["0"]["commit"]
    assert (pages / "tables/results/decoupled.svg").read_text().startswith("<?xml")
    page_of_all = (pages / "README.md").read_text()
    assert page_of_all.count("decoupled minus coupled: R@1 +") == 1
    assert page_of_all.count(page.NOT_RUN) == len(TABLES) - 2
    places = ("--out", str(pages / "gone"), "--results", str(pages / "tables"), "--report")
    before = (pages / "tables/README.md").read_text()
    assert before.count("NOTHING YET") == len(TABLES) - 2
    assert command.main(CONTINUED, argv=("--seeds", "0", *places), recipe=TINY) == 0
    assert (pages / "tables/README.md").read_text() == before
    # Of two seeds one is there.
    assert command.main(CONTINUED, argv=("--seeds", "0", "1", *places), recipe=TINY) == 0
    assert "Not run yet: none (seed 1); anew (seed 1)" in (pages / "tables/README.md").read_text()
    # Seeds that are on the page stay there, whichever are named.
    with_both = (pages / "tables/README.md").read_text()
    assert command.main(CONTINUED, argv=("--seeds", "1", *places), recipe=TINY) == 0
    assert (pages / "tables/README.md").read_text() == with_both
    # Those of another configuration do not: the same command gives the same page.
    longer = replace(TINY, next_pretrain=replace(TINY.next_pretrain, steps=3))
    longer = replace(longer, pretrain=replace(TINY.pretrain, steps=3))
    for _ in range(2):
        assert command.main(CONTINUED, argv=("--seeds", "1", *places), recipe=longer) == 0
        changed = (pages / "tables/README.md").read_text()
        assert "(seed 0)" not in changed
        assert "--seeds 1;" in changed


@pytest.mark.parametrize("place", ["cut", "trained"])
def test_figures_are_there_while_all_that_they_are_read_from_is(tmp_path: Path, place: str) -> None:
    def node(name: str, *after: Node) -> Node:
        return make_node(tmp_path, KIND, {"name": name}, CountThreads, *after)

    nodes = {"cut": node("cut")}
    nodes["trained"] = node("trained", nodes["cut"])
    variant = Variant(judged=node("judged", nodes["trained"]), cut=nodes["cut"])
    run_nodes(variant.nodes, parallel=1)
    assert variant.is_done
    shutil.rmtree(nodes[place].folder)
    assert not variant.is_done


@pytest.mark.usefixtures("forked_workers")
def test_stages_side_by_side(tmp_path: Path) -> None:
    def node(name: str, work, *after: Node) -> Node:
        return make_node(tmp_path, KIND, {"name": name}, work, *after)

    first, other = node("first", CountThreads), node("other", CountThreads)
    last = node("last", CountThreads, first, other)
    run_nodes([last], parallel=2)
    assert all(one.is_done for one in (first, other, last))
    assert (last.folder / "threads").read_text() == "1"
    broken = node("broken", lambda folder: Fail(), first)
    with pytest.raises(BlipError, match=f"^{broken.stage.name} failed; run the same command"):
        run_nodes([node("never", CountThreads, broken)], parallel=2)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_can_be_planned(table, tmp_path: Path) -> None:
    found = [table.variants(Plan(tmp_path, sizes(), seed)) for seed in (0, 1)]
    named = {name for one in table.comparisons for name in (one.better, one.than)}
    assert named <= found[0].keys() == found[1].keys()
    for nodes in ([node for one in of.values() for node in one.nodes] for of in found):
        assert len({node.stage.name for node in nodes}) >= len(found[0])
        ordered = [node.stage.name for node in in_order(nodes)]
        assert len(ordered) == len(set(ordered))
    first, second = ({one.name for one in of.values()} for of in found)
    assert not first & second


def test_fewer_texts_are_fewer_steps_at_equal_epochs(tmp_path: Path) -> None:
    plan = Plan(tmp_path, sizes(), 0)
    work = plan.pretrain(equal_epochs=True).stage.work
    assert isinstance(work, Pretraining)
    # 1000 human images have 5 captions, of which an epoch shows half; 2000 web images have one.
    assert work.planned.epochs == pytest.approx(1200 * 64 / (2500 + 2000))
    assert plan.pretrain().stage.name != plan.pretrain(equal_epochs=True).stage.name


def steps_of(node: Node) -> int:
    assert isinstance(node.stage.work, Pretraining)
    return node.stage.work.planned.complete().train.steps


def test_steps_follow_from_the_texts_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = replace(TINY.pretrain, steps=54)
    plan = Plan(tmp_path, replace(TINY, pretrain=budget, batch_size=6), 0)
    for node in (plan.scenes, plan.tokenizer):
        node.stage.run()
    twice, nothing = (
        make_node(tmp_path, KIND, {"name": name}, CountThreads) for name in ("twice", "nothing")
    )
    shards = twice.folder / "kept/shards"
    shards.mkdir(parents=True)
    for tar in (plan.scenes.folder / "web").glob("*.tar"):
        for copy in ("one", "two"):
            shutil.copy(tar, shards / f"{copy}-{tar.name}")
    # 30 human texts (12 images, 5 each, weighted by half) and 24 web texts: six epochs.
    assert steps_of(plan.pretrain(equal_epochs=True)) == 54
    assert steps_of(plan.pretrain(twice, equal_epochs=True)) == 6 * (30 + 48) // 6
    assert steps_of(plan.pretrain(twice)) == 54
    capsys.readouterr()
    assert steps_of(plan.pretrain(nothing, equal_epochs=True)) == 6 * 30 // 6
    assert capsys.readouterr().err == "CapFilt kept no text; training on the human pairs alone\n"


def test_models_that_share_less_are_larger_and_timed_beside_the_first(tmp_path: Path) -> None:
    plan = Plan(tmp_path, TINY, 0)
    speed = plan.speed(("all_but_self_attention", "all", "nothing"), 2)
    for node in in_order([speed]):
        node.stage.run()
    found = json.loads((speed.folder / FIGURES).read_text())
    size = {sharing: one["parameters"] for sharing, one in found.items()}
    assert size["all"] < size["all_but_self_attention"] < size["nothing"]
    assert found["all_but_self_attention"]["step_ratio"] == 1.0
    assert all(one["step_ratio"] > 0 for one in found.values())


def test_no_stage_at_a_time_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(CONTINUED, tmp_path, "--parallel", "0")
    assert capsys.readouterr().err.endswith("error: --parallel must be at least 1, got 0\n")
    assert not list(tmp_path.iterdir())


def choice(rule: str) -> list[int]:
    rows = [
        record("a", "web", 0, "a", 0.9, itc=0.1),
        record("a", "synthetic", 0, "b", 0.3, itc=0.7),
        record("b", "web", 0, "c", 0.1, itc=0.8),
        record("b", "synthetic", 0, "d", 0.2, itc=0.9),
        record("c", "web", 0, "", None),
        record("c", "synthetic", 0, "e", 0.01, itc=0.2),
    ]
    config = CutConfig(job="job", web=("web",), rule=rule, threshold=0.25, seed=1)
    return choose(records_to_table(rows), config).nonzero()[0].tolist()


def test_rules_of_a_cut_by_hand() -> None:
    assert choice("itm") == [0, 1]
    assert choice("web") == [0]
    assert choice("all") == [0, 1, 2, 3, 5]
    assert choice("unsure") == [0, 1, 2]
    assert choice("itc") == [2, 3]
    # Ranks of the scored texts: 4 3 1 2 0 by the probability, 0 2 3 4 1 by the cosine.
    assert choice("rank_sum") == [1, 3]
    assert len(choice("random")) == 2
    assert 4 not in choice("random")


def test_diversity_by_hand() -> None:
    found = diversity(["a red square", "a red ring"])
    assert found["vocabulary"] == 4
    assert found["distinct1"] == pytest.approx(100 * 4 / 6)
    assert (found["distinct2"], found["distinct3"]) == (pytest.approx(75), 100)


def test_the_rule_of_verdicts() -> None:
    assert outcome({"mean": 1.0, "within": 0.9}) == "holds"
    assert outcome({"mean": -1.0, "within": 0.9}) == "is contradicted"
    assert outcome({"mean": 1.0, "within": 1.1}) == "is undecided"
    # One seed has no interval.
    assert outcome({"mean": 9.0}) == "is undecided"
    assert outcome({}) == "was not tried"
    cases = {
        ("holds", "holds"): "holds",
        ("is undecided",): "is undecided",
        ("was not tried",): "was not tried",
        ("holds", "is undecided"): "holds in part",
        # What was not tried may yet fail.
        ("holds", "was not tried"): "holds in part",
        ("is undecided", "was not tried"): "is undecided",
        ("is contradicted", "is undecided"): "is contradicted in part",
        ("holds", "is contradicted"): "is contradicted in part and holds in part",
    }
    for outcomes, said in cases.items():
        assert verdict([{"outcome": one} for one in outcomes]) == said


def made_up(gain: float) -> dict[str, dict[int, dict[str, float]]]:
    """Seeds differ much more from each other than variants do within one."""
    levels = {0: 50.0, 1: 60.0, 2: 70.0}
    return {
        TWICE: {s: {"r1": x + gain + 0.1 * s, "cider": 300.0} for s, x in levels.items()},
        "continued": {s: {"r1": x, "cider": 300.0 + s} for s, x in levels.items() if s or gain > 0},
    }


def test_seeds_are_paired() -> None:
    r1, cider = compare(made_up(2.0), CONTINUED.comparisons[:1])
    assert (r1["mean"], r1["outcome"]) == (pytest.approx(2.1), "holds")
    assert (cider["mean"], cider["outcome"]) == (-1.0, "is undecided")
    assert compare(made_up(-2.0), CONTINUED.comparisons)[0]["seeds"] == [1, 2]
    assert "mean" not in compare({}, CONTINUED.comparisons)[0]


def test_pages_of_made_up_figures(tmp_path: Path) -> None:
    runs = {
        name: {
            str(seed): {"stages": "x", "figures": figures, "commit": "abc", "machine": "m"}
            for seed, figures in of.items()
        }
        for name, of in made_up(2.0).items()
    }
    result = command.summarise(CONTINUED, {"none": {}, **runs})
    result |= {"command": "python -m x", "missing": ["none (seed 0)"]}
    text = "\n".join(page.lines(CONTINUED, result))
    assert "**holds in part** here.\nNot run yet: none (seed 0).\n" in text
    assert f"| {TWICE} | 62.1 \u00b1 10.1 | 300.0 \u00b1 0.0 |" in text
    assert f"| {TWICE} | continued | R@1 | +2.1 \u00b1 0.2 | holds |" in text
    row = page.summary_row(CONTINUED, result)
    assert f"{TWICE} minus continued: R@1 +2.1 \u00b1 0.2, CIDEr -1.0 \u00b1 2.5 (some runs" in row
    assert "**holds in part** (1 of 2 differences hold, 2 not run)" in row
    assert "#6-training-anew-beside-continued-training)" in row
    not_tried = command.summarise(CONTINUED, {name: {} for name in ("none", *runs)})
    row = page.summary_row(CONTINUED, not_tried | {"missing": ["none (seed 0)"]})
    assert row.endswith("CIDEr not run yet (some runs are missing) | **was not tried** |")
    assert page.counted(["holds", "is undecided", "was not tried"]) == (
        " (1 of 2 differences hold, 1 not run)"
    )
    page.draw(CONTINUED, result, tmp_path / "a.svg")
    page.draw(CONTINUED, result, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
