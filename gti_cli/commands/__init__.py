"""The subcommands: each reads its options, calls its stage and prints the result."""
