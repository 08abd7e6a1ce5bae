"""SafeIP's top layer: configuration, daemon, command line."""
