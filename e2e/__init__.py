"""The whole product on Debian's own kernels, in emulated machines."""
