"""The shards of a job: where they are, what they hold, where their output goes."""
