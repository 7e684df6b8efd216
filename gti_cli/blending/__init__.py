"""Stage `blend`: several recommenders mixed into one."""
