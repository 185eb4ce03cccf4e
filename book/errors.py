"""The errors of skulk; the class of an error says what its catcher has to do."""

from __future__ import annotations


class SkulkError(Exception):
    """Root of every error that skulk raises on purpose."""


class ConfigError(SkulkError):
    """The configuration is wrong; nothing is started (exit status 78)."""


class VenueError(SkulkError):
    """A venue, or what it sent, is at fault; the process goes on."""


class FrameError(VenueError):
    """
    One frame cannot be understood; it is dropped whole and counted under `reason`.

    `reason` is a short bounded word, fit for a metric label; the message is for people.
    """

    reason = "malformed"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class SubscriptionError(VenueError):
    """A venue refuses a subscription for good; that symbol stops, the rest goes on."""


class SinkError(SkulkError):
    """A sink cannot do its work; that sink stops, the rest goes on."""
