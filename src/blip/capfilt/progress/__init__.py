"""How far a job is: what is done, what is waiting, what is reported on the way."""
