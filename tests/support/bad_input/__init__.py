"""Files with wrong content, made from valid ones, and what a command must do with each."""
