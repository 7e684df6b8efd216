"""Which items a list of `gti recommend` may have: `--only`, `--exclude`, and the candidates of `--candidates`."""
