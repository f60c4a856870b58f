"""All tables, in the order in which they are made: short ones first."""

from experiments.tables.capfilt import TABLE as CAPFILT
from experiments.tables.continued import TABLE as CONTINUED
from experiments.tables.decoding import TABLE as DECODING
from experiments.tables.decoupled import TABLE as DECOUPLED
from experiments.tables.larger import TABLE as LARGER
from experiments.tables.noise import TABLE as NOISE
from experiments.tables.rounds import TABLE as ROUNDS
from experiments.tables.scores import TABLE as SCORES
from experiments.tables.sharing import TABLE as SHARING
from experiments.tables.threshold import TABLE as THRESHOLD

TABLES = (
    *(SHARING, DECOUPLED, DECODING, SCORES, CONTINUED),
    *(CAPFILT, THRESHOLD, LARGER, ROUNDS, NOISE),
)
