"""The command of a table: make what is missing, then write results, plot and pages."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.errors import INTERRUPTED, BlipError, StoppedError, plain
from blip.files import write_atomically, write_json
from blip.processes import usable_cpus
from blip.recipes.config import BootstrapConfig
from blip.stage import exclusive_lock
from experiments.results import put_table
from experiments.spread import over_seeds
from experiments.tables import page
from experiments.tables.graph import in_order, run_nodes
from experiments.tables.plan import Plan, sizes
from experiments.tables.table import MAIN, Table, Variant
from experiments.tables.verdict import compare, verdict

HERE = Path(__file__).parent
PROGRAM = "experiments.tables"


def main(
    *tables: Table, argv: Sequence[str] | None = None, recipe: BootstrapConfig | None = None
) -> int:
    """Run what is not done yet of some tables, write, say what is left; the exit status."""
    program = f"{PROGRAM}.{tables[0].name}" if len(tables) == 1 else PROGRAM
    what = tables[0].title if len(tables) == 1 else "All tables, one after the other"
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=what)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--out", type=Path, default=Path("runs/tables"), metavar="DIR")
    parser.add_argument(
        "--parallel", type=int, default=usable_cpus(), metavar="N", help="stages at a time (cores)"
    )
    parser.add_argument(
        "--results", type=Path, default=HERE, metavar="DIR", help="README.md, results/ (here)"
    )
    parser.add_argument("--report", action="store_true", help="run nothing, write what is finished")
    args = parser.parse_args(argv)
    if args.parallel < 1:
        parser.error(f"--parallel must be at least 1, got {args.parallel}")
    seeds = sorted(set(args.seeds))

    def variants(table: Table, seeds: Sequence[int]) -> dict[int, dict[str, Variant]]:
        return {seed: table.variants(Plan(args.out, recipe or sizes(), seed)) for seed in seeds}

    try:
        for table in tables:
            wanted = variants(table, seeds)
            if not args.report:
                make(wanted, args.out, args.parallel)
            earlier = earlier_runs(table, args.results)
            before = {int(seed) for of in earlier.values() for seed in of}
            for seed, of in variants(table, sorted(before - wanted.keys())).items():
                if any(known(earlier, name, seed, one) for name, one in of.items()):
                    wanted[seed] = of
            shown = dict(sorted(wanted.items()))
            command = shlex.join(["python", "-m", program, "--seeds", *map(str, shown)])
            result = write(table, shown, earlier, command, args.results)
            print("\n".join(page.lines(table, result)), end="\n\n")
    except StoppedError as error:
        print(f"tables: {error}", file=sys.stderr)
        return error.status
    except BlipError as error:
        print(f"tables: error: {plain(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tables: stopped; run the same command again to resume", file=sys.stderr)
        return INTERRUPTED
    print(left([of for table in tables for of in variants(table, seeds).values()]))
    return 0


def make(variants: dict[int, dict[str, Variant]], out: Path, parallel: int) -> None:
    """Run the stages of all seeds; one command at a time may do so in a folder."""
    # Variant by variant, so that a table that was stopped has whole rows.
    rows = zip(*(of.values() for of in variants.values()), strict=True)
    wanted = [node for row in rows for one in row for node in one.nodes]
    with exclusive_lock(out):
        run_nodes(wanted, parallel)


def left(tables: Sequence[dict[str, Variant]]) -> str:
    """How many stages are not done."""
    nodes = in_order(node for of in tables for one in of.values() for node in one.nodes)
    waiting = [node for node in nodes if not node.is_done]
    kinds = [node.stage.kind.name for node in waiting]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"{len(waiting)} of {len(nodes)} stages are left" + (counted and f": {counted}")


def results_of(table: Table, folder: Path) -> Path:
    """Where the figures of a table lie."""
    return folder / "results" / f"{table.name}.json"


def earlier_runs(table: Table, folder: Path) -> dict[str, dict[str, Any]]:
    """What was written before, by variant and seed."""
    path = results_of(table, folder)
    return load_json(path)["runs"] if path.is_file() else {}


def known(
    earlier: dict[str, dict[str, Any]], name: str, seed: int, variant: Variant
) -> dict[str, Any] | None:
    """What was written before of a variant, if it was of the stages that it has today."""
    run = earlier.get(name, {}).get(str(seed))
    return run if run is not None and run["stages"] == variant.name else None


def write(
    table: Table,
    variants: dict[int, dict[str, Variant]],
    earlier: dict[str, dict[str, Any]],
    command: str,
    folder: Path,
) -> dict[str, Any]:
    """Write results, plot and pages of what is finished, here or in `earlier` results."""
    path = results_of(table, folder)
    names = list(next(iter(variants.values())))
    runs: dict[str, dict[str, Any]] = {name: {} for name in names}
    missing = []
    for seed, of in variants.items():
        for name, variant in of.items():
            if variant.is_done:
                figures, origin = variant.read()
                runs[name][str(seed)] = {"stages": variant.name, "figures": figures, **origin}
            elif run := known(earlier, name, seed, variant):
                runs[name][str(seed)] = run
            else:
                missing.append(f"{name} (seed {seed})")
    result = summarise(table, runs) | {"command": command, "missing": missing}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    if result["means"]:
        page.draw(table, result, path.with_suffix(".svg"))
    put_on_pages(table, result, folder)
    return result


def summarise(table: Table, runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, differences within seeds, and the verdict."""
    figures = {
        name: {int(seed): run["figures"] for seed, run in of.items()} for name, of in runs.items()
    }
    differences = compare(figures, table.comparisons)
    all_runs = [run for of in runs.values() for run in of.values()]
    return {
        "title": table.title,
        "claim": table.claim,
        "verdict": verdict(differences),
        "differences": differences,
        "means": {
            name: {
                key: over_seeds([run[key] for run in of.values()])
                for key in dict.fromkeys((*MAIN, *table.columns))
                if all(key in run for run in of.values())
            }
            for name, of in figures.items()
            if of
        },
        "commits": sorted({run["commit"] for run in all_runs}),
        "machines": sorted({run["machine"] for run in all_runs}),
        "runs": runs,
    }


def put_on_pages(table: Table, result: dict[str, Any], folder: Path) -> None:
    """Fill the table's place on the page of all figures, and the page of all claims."""
    from experiments.tables.every import TABLES

    readme, claims = folder / "README.md", folder.parent / "README.md"
    if not readme.is_file():
        return
    text = put_table(readme.read_text("utf-8"), table.name, "\n".join(page.lines(table, result)))
    write_atomically(readme, text)
    found = {path.stem: load_json(path) for path in (folder / "results").glob("*.json")}
    ordered = sorted(TABLES, key=lambda one: one.number)
    rows = [page.summary_row(one, found.get(one.name)) for one in ordered]
    write_atomically(claims, put_table(claims.read_text("utf-8"), "summary", page.summary(rows)))
