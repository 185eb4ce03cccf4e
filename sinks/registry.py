"""The registry of sinks: the tagged union that the configuration reads, one member a sink."""

from __future__ import annotations

from sinks.file import FileConfig
from sinks.stdout import StdoutConfig
from sinks.websocket import WebsocketConfig

AnySinkConfig = StdoutConfig | FileConfig | WebsocketConfig
