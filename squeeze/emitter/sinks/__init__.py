"""Where messages go: one file for each kind of sink, its settings beside it.

Nothing here is imported before a sink of its kind is made: paho-mqtt, redis, websockets and apprise come with the extra
`sinks`, and JSON lines and webhooks need none of them.
"""
