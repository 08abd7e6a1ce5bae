r"""Reverse proxies between the visitors and the portal, each on a host of its own behind the gateway.

    Internet -- gateway 10.8.0.1 -- 10.8.0.10 inner 10.7.0.10 -- 10.7.0.20 outer
                        fd00:8::1   fd00:8::10      fd00:7::10   fd00:7::20

The gateway forwards tcp/8443 to the inner one, with the visitor's address as it came; `through_outer` sends it to the
outer one, which has the inner one behind it. Whether they run anything is the test's business.
"""

import contextlib
from typing import Self

from lab.gateway import Gateway
from lab.net import Namespace, veth

PORT = 8443
INNER4, INNER6 = "10.8.0.10", "fd00:8::10"
OUTER4, OUTER6 = "10.7.0.20", "fd00:7::20"
NEAR4, NEAR6 = "10.8.0.1", "fd00:8::1"  # the gateway, as they see it


class Front:
    """The two hosts of a gateway that stands. They go with `close` or with the `with` block, before the gateway."""

    def __init__(self, gateway: Gateway, prefix: str = "sipl") -> None:
        self.gateway = gateway
        with contextlib.ExitStack() as made:
            self.inner = made.enter_context(Namespace("inner", prefix))
            self.outer = made.enter_context(Namespace("outer", prefix))
            veth(
                gateway.host, "dmz", (f"{NEAR4}/24", f"{NEAR6}/64"),
                right=self.inner, right_name="eth0", right_addresses=(f"{INNER4}/24", f"{INNER6}/64"),
            )  # fmt: skip
            veth(
                self.inner, "eth1", ("10.7.0.10/24", "fd00:7::10/64"),
                right=self.outer, right_name="eth0", right_addresses=(f"{OUTER4}/24", f"{OUTER6}/64"),
            )  # fmt: skip
            self.inner.configure(f"route add default via {NEAR4}", f"route add default via {NEAR6}")
            self.outer.configure("route add default via 10.7.0.10", "route add default via fd00:7::10")
            gateway.host.configure(f"route add 10.7.0.0/24 via {INNER4}", f"route add fd00:7::/64 via {INNER6}")
            self.inner.sysctl("net.ipv4.ip_forward", 1)
            self.inner.sysctl("net.ipv6.conf.all.forwarding", 1)
            self.through_inner()
            self._stack = made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the hosts. A second call does nothing."""
        self._stack.close()

    def through_inner(self) -> None:
        """Send visitors to the inner host."""
        self._forward(INNER4, INNER6)

    def through_outer(self) -> None:
        """Send visitors to the outer host."""
        self._forward(OUTER4, OUTER6)

    def _forward(self, ipv4: str, ipv6: str) -> None:
        self.gateway.nft(f"""
            table inet front
            delete table inet front
            table inet front {{
                chain forwarded {{
                    type nat hook prerouting priority dstnat;
                    iifname "wan" meta nfproto ipv4 tcp dport {PORT} dnat ip to {ipv4}
                    iifname "wan" meta nfproto ipv6 tcp dport {PORT} dnat ip6 to {ipv6}
                }}
            }}""")
