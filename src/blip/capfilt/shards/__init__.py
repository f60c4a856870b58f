"""The shards of a job: its inputs, its settings, and where its output lies."""
