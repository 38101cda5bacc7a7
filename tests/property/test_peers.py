"""Whatever stands in a header, it is judged, and what is said of it is an address or a plain no."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from fanout.peers import Hosts, Proxies, counted_as, host_of, read_hosts

PROXIES = Proxies.parse("10.0.0.0/8,2001:db8::/32")
ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.2"])
PIECES = st.text() | ADDRESSES | st.sampled_from([",", ", ", "[", "]", ":80", "%eth0", "localhost", ".localhost", "."])
HEADER = st.lists(PIECES, max_size=6).map("".join)
EVERY = (Hosts(), Hosts(read_hosts("a.example")), Hosts(read_hosts("a.example"), proven=True))


@given(st.lists(HEADER, max_size=3), ADDRESSES)
def test_any_forwarded_header(values: list[str], peer: str) -> None:
    """The client is always an address, and only a trusted proxy is ever believed."""
    address = PROXIES.client_address(peer, values)

    assert str(ip_address(address)) == address
    assert PROXIES.trust(peer) or ip_address(address) in (
        ip_address(peer),
        getattr(ip_address(peer), "ipv4_mapped", None),
    )
    assert PROXIES.trust(peer) or not PROXIES.is_https(peer, values)
    assert counted_as(address)


@given(st.lists(HEADER, max_size=2))
def test_any_host(values: list[str]) -> None:
    """Only one host that is a host is ever allowed where hosts are judged."""
    for hosts in EVERY:
        if hosts.allow(values):
            assert len(values) == 1
            assert host_of(values[0]) is not None
            assert values[0].isascii()
