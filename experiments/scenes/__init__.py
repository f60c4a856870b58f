"""Does each task learn to use its images? Trainings on built-in scenes beside blind baselines."""
