"""How far a job is: which shards are done, which wait, and what it reports on the way."""
