"""The Internet in a box: network namespaces and a driver for the daemon, for demo, tests and bench."""
