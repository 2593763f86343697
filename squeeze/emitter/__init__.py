"""From messages to those who act on them: kept first, then sent, each sink at its own pace.

    Stream.on_clock ─► Emitter.emit ─► writer's thread ─► Outbox (SQLite) ─► a courier's thread for each sink ─► sink
                            │                                  ▲                    │
                            └─ returns at once                 └─ how far it came ──┘

A message is in the file, together with the state that goes on after it, before anything of it leaves. It is delivered
at least once: a copy bears the same `event_id` and the same bytes. A sink that hangs, refuses or answers late delays
nobody but itself. What a sink will not have is kept among the dead letters, and so is an entry that came too late.
"""
