"""All tables, one after the other; says how much is left.

python -m experiments.tables [--seeds 0 1 2] [--out runs/tables] [--parallel 2]
"""

import sys

from experiments.tables.command import main
from experiments.tables.every import TABLES

if __name__ == "__main__":
    sys.exit(main(*TABLES))
