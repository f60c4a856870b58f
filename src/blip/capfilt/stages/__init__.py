"""The stages of a shard: open pictures, caption, filter, merge; then the rules of the job."""
