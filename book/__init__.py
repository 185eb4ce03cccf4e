"""The pure heart: events, order books and the rules that keep a live book true."""
