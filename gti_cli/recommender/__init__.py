"""A recommender that is loaded once and answers many requests, in this process."""
