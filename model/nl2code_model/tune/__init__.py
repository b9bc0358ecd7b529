"""From the feedback log to a better adapter: data set, training, comparison, versions that can be rolled back."""
