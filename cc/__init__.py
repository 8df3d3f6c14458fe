"""cc: an idempotent task runner over shell tools that falls back by itself and says truthfully how it did it."""

__version__ = "0.1.0"
