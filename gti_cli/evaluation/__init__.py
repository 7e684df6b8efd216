"""`gti evaluate`: every held-out item or query ranked among all items, beside baselines, with intervals and slices."""
