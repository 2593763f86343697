"""Live connections: all input and output of a venue in one object.

    Venue.connections, polls ─► live.Feed ─► frames (`run`), clean events (`events`)
                                        ─► recorder.record ─► a raw log

`link` is one connection, `rest` holds addresses and requests, `values` what is set and told, `verbs` the command. Needs
the extra `feeds`; importing this package does not.
"""
