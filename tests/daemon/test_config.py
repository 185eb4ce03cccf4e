"""Configuration: what is right is complete, what is wrong is told in one line with its place."""

import os
import re
from pathlib import Path

import pytest

from book.errors import ConfigError
from daemon.address import parse_address
from daemon.config import Environment, load, parse, parse_text
from daemon.rules import _overlap, check_runnable
from daemon.secret import is_managed
from feeds.session import Credentials
from feeds.venues import VENUES
from feeds.venues.sunflower import SunflowerOptions

FEED = '[[feeds]]\nvenue = "sunflower"\nsymbols = ["ETH-BTC"]\n'
STDOUT = '[[sinks]]\ntype = "stdout"\n'


def mistake(text, **environment):
    """Return what is said about a wrong configuration."""
    with pytest.raises(ConfigError) as caught:
        parse_text(text, "skulk.toml", Environment(**environment))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_little_is_completed_to_everything():
    config = parse_text(FEED + STDOUT, "skulk.toml")
    (feed,) = config.feeds
    assert feed.name == feed.venue == "sunflower"
    assert feed.symbols == ["ETH-BTC"]
    assert feed.channels == ["book", "trade", "ticker"]
    assert feed.ws_url == VENUES["sunflower"].ws_url
    assert feed.rest_url == VENUES["sunflower"].rest_url
    assert feed.options == SunflowerOptions()
    assert feed.credentials is None
    assert not feed.synthetic
    assert [sink.name for sink in config.sinks] == ["stdout"]
    assert config.ops is None
    assert config.capture is None
    assert config.daemon.state_directory == "./state"


def test_a_venues_own_options_sit_in_the_feeds_table():
    config = parse_text(FEED + 'sequence = "monotonic"\nstale_after_seconds = 5\n', "skulk.toml")
    assert config.feeds[0].options == SunflowerOptions(sequence="monotonic", stale_after_seconds=5.0)


def test_quote_is_implied_by_the_book_and_implies_it():
    config = parse_text(FEED + 'channels = ["trade", "quote"]\n', "skulk.toml")
    assert config.feeds[0].channels == ["book", "trade"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FEED + 'symbls = ["x"]\n', 'feeds[0].symbls: unknown key; did you mean "symbols"?'),
        ("[deamon]\n", 'deamon: unknown key; did you mean "daemon"?'),
        ('[daemon]\nlog_levle = "info"\n', 'daemon.log_levle: unknown key; did you mean "log_level"?'),
        ('[daemon]\nlog_level = "inf"\n', 'daemon.log_level: unknown value "inf"; did you mean "info"?'),
        ('[daemon]\nlog_level = "loud"\n', 'unknown value "loud"; known: debug, error, info, warning'),
        ('[daemon]\nready_after_seconds = "soon"\n', "daemon.ready_after_seconds: expected a number, got a string"),
        ("[daemon]\nready_after_seconds = -1\n", "daemon.ready_after_seconds: must not be negative"),
        ("[daemon]\nready_after_seconds = nan\n", "daemon.ready_after_seconds: must be a finite number"),
        ("feeds = 3\n", "feeds: expected a list, got an integer"),
        ("feeds = [3]\n", "feeds[0]: expected a table, got an integer"),
        ('[[feeds]]\nvenue = "sunflwr"\nsymbols = ["A-B"]\n', 'feeds[0].venue: unknown venue "sunflwr"; did you mean'),
        ('[[feeds]]\nsymbols = ["A-B"]\n', "feeds[0].venue: missing; one of: "),
        ('[[feeds]]\nvenue = "sunflower"\n', "feeds[0].symbols: missing"),
        ('[[feeds]]\nvenue = "sunflower"\nsymbols = []\n', "feeds[0].symbols: empty"),
        (FEED.replace('"ETH-BTC"', "3"), "feeds[0].symbols[0]: expected a string, got an integer"),
        (FEED.replace("ETH-BTC", "ETH-[BTC"), 'feeds[0].symbols[0]: bad glob "ETH-[BTC"'),
        (FEED.replace("ETH-BTC", "ETH BTC"), "feeds[0].symbols[0]: 'ETH BTC' is not a pattern"),
        (FEED.replace("ETH-BTC", "sunflower:ETH-BTC"), "feeds[0].symbols[0]: "),
        (FEED.replace("ETH-BTC", "native:"), 'feeds[0].symbols[0]: no id behind "native:"'),
        (FEED.replace('"ETH-BTC"', '"A-B", "A-B"'), 'feeds[0].symbols[1]: "A-B" is there twice'),
        (
            FEED + 'channels = ["books"]\n',
            'feeds[0].channels[0]: sunflower has no channel "books"; did you mean "book"?',
        ),
        (FEED + 'channels = ["book", "candle"]\n', 'feeds[0].channels[1]: "candle" needs one of the venue\'s periods'),
        (FEED + 'channels = ["candle:M2"]\n', 'feeds[0].channels[0]: "candle:M2" needs one of'),
        (FEED + 'channels = ["book:5"]\n', 'feeds[0].channels[0]: "book" takes no period'),
        (FEED + 'sequence = "contig"\n', 'feeds[0].sequence: unknown value "contig"; did you mean "contiguous"?'),
        (FEED + 'ws_url = "http://h/"\n', 'feeds[0].ws_url: "http://h/" is not an address: expected wss://host/path'),
        (FEED + 'ws_url = "wss://me:pw@h/"\n', "feeds[0].ws_url: holds a name or password"),
        (FEED + 'rest_url = "https://h:port/"\n', 'feeds[0].rest_url: "https://h:port/" is not an address'),
        (FEED + FEED, 'feeds[1].symbols: "ETH-BTC" would publish sunflower:ETH-BTC:book, which feeds[0] ("ETH-BTC")'),
        (FEED + FEED.replace("ETH-BTC", "*-BTC"), 'feeds[1].symbols: "*-BTC" would publish sunflower:ETH-BTC:book'),
        (FEED + FEED.replace("ETH-BTC", "native:ETHBTC"), "would publish sunflower:ETH-BTC:book"),
        (FEED + 'name = "a b"\n', 'feeds[0].name: "a b" is not a name'),
        (FEED + '[[sinks]]\ntype = "stdou"\n', 'sinks[0].type: unknown type "stdou"; did you mean "stdout"?'),
        (FEED + "[[sinks]]\n", "sinks[0].type: missing; one of: "),
        (FEED + STDOUT + STDOUT, "sinks[1].type: sinks[0] writes to standard output already"),
        (FEED + STDOUT + 'name = "a"\n' + STDOUT + 'name = "a"\n', 'sinks[1].name: "a" is taken'),
        (
            FEED + STDOUT + 'channels = ["trades"]\n',
            'sinks[0].channels[0]: no channel is called "trades"; did you mean',
        ),
        (FEED + STDOUT + "channels = []\n", "sinks[0].channels: empty; leave it out for all"),
        (FEED + STDOUT + 'streams = ["ETH-BTC"]\n', 'sinks[0].streams[0]: "ETH-BTC" is not "venue:symbol"'),
        (
            FEED + STDOUT + 'streams = ["sunflowr:*"]\n',
            'sinks[0].streams[0]: "sunflowr:*" matches no feed; did you mean',
        ),
        (FEED + '[ops]\nlisten = "7411"\n', 'ops.listen: "7411" is not an address; write "127.0.0.1:7411"'),
        (FEED + '[ops]\nlisten = "h:70000"\n', 'ops.listen: "h:70000": there is no port above 65535'),
        (FEED + '[ops]\nlisten = "unix:ops.sock"\n', 'ops.listen: "unix:ops.sock" needs an absolute path'),
        (FEED + "[ops]\nport = 1\n", "ops.port: unknown key; known: listen"),
        ("this is not TOML", "skulk.toml: not TOML: "),
        ("[daemon]\nstarted = 2020-01-01\n", "daemon.started: unknown key"),
        ("[daemon]\nlog_level = 2020-01-01\n", "daemon.log_level: expected a string, got a date"),
    ],
)
def test_a_mistake_is_one_line_with_file_place_and_remedy(text, said):
    message = mistake(text)
    assert message.startswith("skulk.toml: ")
    assert said in message


FILE = '[[sinks]]\ntype = "file"\n'
WEBSOCKET = '[[sinks]]\ntype = "websocket"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[ops]\nlisten = "127.0.0.1:7410"\n' + WEBSOCKET, "sinks[0].listen: 127.0.0.1:7410 clashes with ops.listen"),
        ('[ops]\nlisten = "0.0.0.0:7410"\n' + WEBSOCKET, "sinks[0].listen: 127.0.0.1:7410 clashes with ops.listen (0."),
        ('[ops]\nlisten = "localhost:7410"\n' + WEBSOCKET, "sinks[0].listen: 127.0.0.1:7410 clashes with ops.listen"),
        (WEBSOCKET + WEBSOCKET, "sinks[1].listen: 127.0.0.1:7410 clashes with sinks[0].listen"),
        (2 * (WEBSOCKET + 'listen = "unix:/a"\n'), "sinks[1].listen: unix:/a clashes with sinks[0].listen (unix:/a)"),
        (FILE + FILE, "sinks[1].directory: ./data is sinks[0].directory already; give it a directory of its own"),
        (FILE + FILE + 'directory = "x/../data"\n', "sinks[1].directory: x/../data is sinks[0].directory already"),
        ('[capture]\ndirectory = "./data"\n' + FILE, "sinks[0].directory: ./data is capture.directory already"),
        (WEBSOCKET + 'listen = "0.0.0.0:7410"\n', 'skulk.toml: sinks[0].listen: "0.0.0.0:7410" can be reached'),
        (WEBSOCKET + 'auth_token_file = "/nowhere"\n', "sinks[0].auth_token_file: cannot read /nowhere: no such file"),
        (
            WEBSOCKET + 'tls_cert_file = "/nowhere"\n',
            "skulk.toml: sinks[0]: tls_cert_file and tls_key_file belong together",
        ),
        (FILE + "rotate_bytes_max = 5\n", "sinks[0].rotate_bytes_max: must be at least 4096"),
        (FILE + "retain_seconds = 0\n", "sinks[0].retain_seconds: must be more than 0"),
    ],
)
def test_what_would_get_in_each_others_way_is_told(text, said):
    assert said in mistake(text)


@pytest.mark.parametrize(
    ("a", "b", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:1", "10.0.0.1:1", False),
        ("10.0.0.1:1", "0.0.0.0:1", True),
        ("10.0.0.1:1", "[::]:1", True),
        ("localhost:1", "[::1]:1", True),
        ("127.0.0.1:1", "[::1]:1", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:1", False),
    ],
)
def test_addresses_clash_when_both_cannot_be_had(a, b, clash):
    first, second = parse_address(a), parse_address(b)
    assert first.clashes(second) == second.clashes(first) == clash
    assert str(first) == a


def test_what_does_not_clash_is_allowed():
    other = FEED.replace("ETH-BTC", "LTC-BTC")
    trades = FEED + 'channels = ["trade"]\n'
    books = FEED + 'channels = ["book"]\n'
    assert [feed.name for feed in parse_text(FEED + other, "").feeds] == ["sunflower", "sunflower-2"]
    assert len(parse_text(trades + books, "").feeds) == 2
    assert len(parse_text(FEED.replace("ETH-BTC", "*-EUR") + other, "").feeds) == 2


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ("*", "x", True),
        ("a*", "*b", True),
        ("a", "b", False),
        ("a*c", "ab", False),
        ("*-USD", "BTC-*", True),
        ("*-USD", "*-EUR", False),
        ("B?C", "BTC", True),
        ("B[TX]C", "BTC", True),
        ("*", "", True),
        ("a*b*c", "axxbyyc", True),
        ("*a*", "b*b", True),
        ("x*y", "y*x", False),
    ],
)
def test_two_globs_overlap_when_some_symbol_matches_both(a, b, overlap):
    assert _overlap(a, b) == _overlap(b, a) == overlap


def test_running_needs_a_feed_and_a_sink():
    with pytest.raises(ConfigError, match="feeds: there is none"):
        check_runnable(parse({}))
    with pytest.raises(ConfigError, match="sinks: there is none"):
        check_runnable(parse_text(FEED, ""))
    check_runnable(parse_text(FEED + STDOUT, ""))


# Secrets


def test_a_key_is_read_from_its_file_and_shown_nowhere(tmp_path):
    (tmp_path / "key").write_text("k3y-k3y\n")
    (tmp_path / "secret").write_text("s3cret-s3cret\n")
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    text = f'{FEED}api_key_file = "{tmp_path}/key"\napi_secret_file = "{tmp_path}/secret"\nalgorithm = "HS256"\n'
    config = parse_text(text, "skulk.toml")
    assert config.feeds[0].credentials == Credentials("k3y-k3y", "s3cret-s3cret", "HS256")
    for shown in (repr(config), repr(config.effective()), repr(config.feeds[0]), str(config.feeds)):
        assert "k3y-k3y" not in shown
        assert "s3cret-s3cret" not in shown


def test_a_key_can_be_a_credential_of_the_service_manager(tmp_path):
    (tmp_path / "sunflower").write_text("abc")
    text = FEED + 'api_key_credential = "sunflower"\n'
    config = parse_text(text, "", Environment(credentials_directory=str(tmp_path)))
    assert config.feeds[0].credentials == Credentials("abc")
    assert "$CREDENTIALS_DIRECTORY is not set" in mistake(text)
    elsewhere = FEED + 'api_key_credential = "../sunflower"\n'
    assert "is not the name of a credential" in mistake(elsewhere, credentials_directory=str(tmp_path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o601])
def test_a_secret_open_to_others_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    path.write_text("abc")
    path.chmod(mode)
    message = mistake(f'{FEED}api_key_file = "{path}"\n')
    assert f"feeds[0].api_key_file: {path} is open to others (mode {mode:04o}); run: chmod 600 {path}" in message
    path.chmod(0o600)
    parse_text(f'{FEED}api_key_file = "{path}"\n', "")


@pytest.mark.parametrize(
    ("path", "managed"),
    [
        ("/run/credentials/skulk.service/token", True),
        ("/run/credentials/../../etc/token", False),
        ("/run/credentialsx/token", False),
        ("run/credentials/skulk.service/token", False),
        ("/etc/skulk/token", False),
    ],
)
def test_only_the_service_managers_files_are_taken_as_they_are(path, managed):
    assert is_managed(Path(path)) == managed


def test_a_secret_that_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "key"
    assert f"feeds[0].api_key_file: cannot read {path}: no such file" in mistake(f'{FEED}api_key_file = "{path}"\n')
    path.touch(0o600)
    assert f"feeds[0].api_key_file: {path} is empty" in mistake(f'{FEED}api_key_file = "{path}"\n')
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in mistake(f'{FEED}api_key_file = "{path}"\n')
    path.write_bytes(b"x" * 70_000)
    assert "too large for a secret" in mistake(f'{FEED}api_key_file = "{path}"\n')
    assert "is not a file" in mistake(f'{FEED}api_key_file = "{tmp_path}"\n')


def test_keys_belong_together(tmp_path):
    path = tmp_path / "key"
    path.write_text("abc")
    path.chmod(0o600)
    message = mistake(f'{FEED}api_secret_file = "{path}"\n')
    assert "feeds[0].api_key_file: missing: there is a secret without a key" in message
    message = mistake(f'{FEED}api_key_file = "{path}"\napi_key_credential = "a"\n')
    assert "feeds[0].api_key_credential: give either" in message


def test_a_key_never_travels_unencrypted(tmp_path):
    path = tmp_path / "key"
    path.write_text("abc")
    path.chmod(0o600)
    text = f'{FEED}api_key_file = "{path}"\n'
    assert "feeds[0].ws_url: would send the key unencrypted" in mistake(text + 'ws_url = "ws://example.com/"\n')
    assert "feeds[0].rest_url: would send the key unencrypted" in mistake(text + 'rest_url = "http://example.com/"\n')
    parse_text(text + 'ws_url = "ws://127.0.0.1:1/"\nrest_url = "http://localhost:1/"\n', "")


# Environment, file, hash


def test_state_directory_comes_from_the_file_then_the_service_manager_then_the_default():
    environment = Environment(state_directory="/var/lib/skulk:/var/lib/other")
    assert parse({}, "", environment).daemon.state_directory == "/var/lib/skulk"
    given = parse({"daemon": {"state_directory": "/srv"}}, "", environment)
    assert given.daemon.state_directory == "/srv"


def test_load_names_the_file_and_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "skulk.toml"
    with pytest.raises(ConfigError, match=re.escape(f"{path}: cannot read it: no such file or directory; `skulk")):
        load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: not UTF-8 text (byte 0)")):
        load(path)
    path.write_text(FEED)
    assert load(path).source == str(path)
    if os.geteuid() != 0:
        path.chmod(0)
        with pytest.raises(ConfigError, match="permission denied"):
            load(path)


def test_the_hash_names_what_is_configured_not_how_it_is_written(tmp_path):
    plain = parse_text(FEED + 'sequence = "monotonic"\n', "a").hash
    assert (
        parse_text('# hello\n[[feeds]]\nsequence="monotonic"\nsymbols=["ETH-BTC"]\nvenue="sunflower"', "b").hash
        == plain
    )
    assert parse_text(FEED + 'sequence = "monotonic"\nchannels = ["book", "trade", "ticker"]\n', "").hash == plain
    assert parse_text(FEED, "").hash != plain
    path = tmp_path / "key"
    path.touch(0o600)
    hashes = set()
    for secret in ("one", "two"):
        path.write_text(secret)
        hashes.add(parse_text(f'{FEED}api_key_file = "{path}"\n', "").hash)
    assert len(hashes) == 1
