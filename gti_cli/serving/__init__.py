"""`gti serve`: a checkpoint that stays loaded and answers over HTTP."""
