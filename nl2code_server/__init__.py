"""The light half of nl2code: the language server, its command line and the log of what became of suggestions."""

__version__ = "0.1.0"
