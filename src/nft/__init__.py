"""What acts: the gate, the wire, rendering, netlink. The only kernel code."""
