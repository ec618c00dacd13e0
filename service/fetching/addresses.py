"""Which IP addresses a URL may lead to."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

PRIVATE_V4 = tuple(
    map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12",
                      "192.168.0.0/16"))
)  # fmt: skip
PRIVATE_V6 = tuple(map(IPv6Network, ("::1/128", "fc00::/7")))
"""An intranet's; SFD_FETCH_PRIVATE allows them."""

# Listed here, because `is_global` differs between releases of Python.
NEVER_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "100.100.100.200/32",  # Alibaba Cloud's metadata
            "168.63.129.16/32",  # Azure's host agent, a public address
            "169.254.0.0/16",  # link-local, the metadata of most clouds
            "192.0.0.0/24",  # IETF, and Oracle Cloud's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
NEVER_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF; Teredo, with an IPv4 address inside
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, with an IPv4 address inside
            "3fff::/20",  # documentation
            "fd00:ec2::/32",  # Amazon's metadata
        ),
    )
)
GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is assigned to the Internet; multicast, link-local and the rest lie outside."""
NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: what the IPv4 Internet looks like from a network that only has IPv6."""


def is_allowed(text: str, *, private: bool) -> bool:
    """Whether a connection may go to an address, as the resolver writes it.

    `private` allows loopback addresses and those of an intranet too.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _v4(address, private)
    return _v6(address, private)


def _v4(address: IPv4Address, private: bool) -> bool:
    if any(address in network for network in NEVER_V4):
        return False
    return private or not any(address in network for network in PRIVATE_V4)


def _v6(address: IPv6Address, private: bool) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _v4(address.ipv4_mapped, private)
    if address in NAT64:
        return _v4(IPv4Address(int(address) & 0xFFFFFFFF), private)
    if any(address in network for network in NEVER_V6):
        return False
    return address in GLOBAL_V6 or (private and any(address in net for net in PRIVATE_V6))
