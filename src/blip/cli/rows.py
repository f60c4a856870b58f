"""Results on stdout, a row at a time: as text, as JSON or as CSV; no name ends the job."""

import csv
import json
import sys
from collections.abc import Mapping
from typing import Literal

from blip.files import json_text

Value = str | int | float


class RowPrinter:
    """Prints rows of the same columns."""

    def __init__(self, form: Literal["text", "json", "csv"]) -> None:
        self.form = form
        self.started = False

    @classmethod
    def of(cls, *, json: bool, csv: bool = False) -> "RowPrinter":
        """As `--json` and `--csv` say."""
        return cls("json" if json else "csv" if csv else "text")

    def print(self, row: Mapping[str, Value], text: str) -> None:
        """Print a row; `text` is what it looks like to people."""
        if self.form == "json":
            print_json(row)
        elif self.form == "csv":
            # The reader of a file ends a line by "\\n" alone, too.
            writer = csv.writer(sys.stdout, lineterminator="\n")
            if not self.started:
                writer.writerow(row)
            writer.writerow(row.values())
            sys.stdout.flush()
        else:
            print(text, flush=True)
        self.started = True


def print_result(value: Mapping[str, object], text: str, *, json: bool) -> None:
    """Print the one result of a verb: as a JSON object, or as the text that people read."""
    if json:
        print_json(value)
    else:
        print(text, flush=True)


def print_keys(config: object, *, json: bool, meanings: Mapping[str, str] | None = None) -> None:
    """Print all keys of a configuration and their values; as JSON, a config.json to start from.

    `meanings` are those of keys that mean something more particular here.
    """
    from blip.config.override import describe
    from blip.config.strict import to_json

    print_result(to_json(config), describe(config, meanings), json=json)


def print_json(value: object) -> None:
    """Print a JSON line; what the terminal's encoding lacks is escaped as JSON does it.

    So are the bytes of file names that are no text: `os.fsencode` of the parsed name gives them.
    """
    line = json_text(value)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(json.loads(line))
    print(line, flush=True)
