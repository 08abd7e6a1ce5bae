"""Which SafeIP this is."""

VERSION = "0.1.0"
