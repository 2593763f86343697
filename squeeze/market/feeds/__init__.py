"""Live connections: all input and output of a venue in one object.

    Venue.connections, polls ─► live.Feed ─► frames (`run`), clean events (`events`), a raw log (`record`)

`rest` holds addresses and requests, `verbs` the command. Needs the extra `feeds`; importing this package does not.
"""
