"""The heavy half of nl2code: model files, the model host and its engines, evaluation, benchmarks, tuning."""
