import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import HostNotAllowed, InvalidParameter
from service.fetching import urls

ALLOWED = ("images.example.org", "store.example:9000", "*.cdn.example.com")


@pytest.mark.parametrize(
    "text",
    [
        "http://images.example.org/a.jpg",
        "https://images.example.org/a.jpg?w=1,2&h=%20#part",
        "HTTPS://Images.Example.ORG",
        "http://images.example.org:80/",
        "https://images.example.org:443?x",
        "https://store.example:9000/a",
        "http://store.example:9000/a",
        "https://a.cdn.example.com/",
        "https://a.b.cdn.example.com/",
    ],
)
def test_listed_hosts_pass(text: str) -> None:
    urls.check(urls.parse(text), ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org/",
        "http://images.example.org.evil.test/",
        "http://evil-images.example.org/",
        "http://x.images.example.org/",
        "http://images.example.org:22/",
        "http://images.example.org:443/",
        "https://images.example.org:80/",
        "https://store.example/",
        "https://store.example:9001/",
        "https://cdn.example.com/",
        "https://evilcdn.example.com/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_other_hosts_and_ports_are_refused(text: str) -> None:
    with pytest.raises(HostNotAllowed):
        urls.check(urls.parse(text), ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "images.example.org/a.jpg",
        "//images.example.org/a.jpg",
        "ftp://images.example.org/",
        "file:///etc/passwd",
        "gopher://images.example.org/",
        "data:image/png;base64,AAAA",
        "http:images.example.org",
        "http:///images.example.org",
        "http://user@images.example.org/",
        "http://user:password@images.example.org/",
        "http://images.example.org@evil.test/",
        "http://images.example.org:80@evil.test/",
        "http://evil.test\\@images.example.org/",
        "http://images.example.org\\.evil.test/",
        "http://images.example.org /",
        "http://images.example.org\t/",
        "http://images.example.org/\r\nX-Evil: 1",
        "http://images.example.org/a b",
        "http://images.example.org\x00.evil.test/",
        "http://images%2eexample.org/",
        "http://images.example.org%00/",
        "http://images。example。org/",
        "http://ımages.example.org/",
        "httpſ://images.example.org/",
        "http://images.example.org./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[images.example.org]/",
        "http://images.example.org:/",
        "http://images.example.org:0/",
        "http://images.example.org:65536/",
        "http://images.example.org:+80/",
        "http://images.example.org:٨٠/",
        "http://images.example.org/" + "a" * 2048,
    ],
)
def test_an_ambiguous_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        urls.parse(text)


@given(st.text(max_size=40))
def test_only_the_listed_host_is_ever_asked(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://images.example.org{text}"):
        try:
            url = urls.parse(candidate)
            urls.check(url, ("images.example.org",))
        except (InvalidParameter, HostNotAllowed):
            continue
        assert (url.host, url.port) in {("images.example.org", 80), ("images.example.org", 443)}
        assert url.target.isascii()
        assert not set(url.target) & set(" \r\n\t\\#")
