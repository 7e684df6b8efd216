"""gti: Grounded Token Initialization for new tokens of language models, as a command-line toolkit and a library."""

__version__ = "0.1.0"
