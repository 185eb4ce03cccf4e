"""The rebroadcast behind the websocket sink: its protocol, its rings, its subscribers; nothing here opens a socket."""
