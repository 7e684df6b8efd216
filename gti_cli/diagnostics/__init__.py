"""The stage `gti diagnose`: measure the rows of the new tokens of a checkpoint, judge them, and show them."""
