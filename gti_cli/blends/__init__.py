"""Several recommenders mixed into one: comparable scores, weights, and the files of a blend."""
