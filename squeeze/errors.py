"""What can go wrong, as a tree.

SqueezeError
├── UserError              the command line prints it as one line and exits with status 2
│   ├── ConfigError        a run, mapping or spec that cannot hold
│   ├── DataError          a file, row or value that is not what its mapping promises
│   ├── LakeError          the lake lacks, or cannot give, what was asked of it
│   ├── ModelFileError     a model file that is not ours, was altered, or speaks another spec
│   ├── OutboxError        a file of messages that is damaged, not ours, or another process's
│   ├── StateFileError     a warm start that is not ours, was altered, is too old, or another model's
│   └── TrackingError      a tracking store that does not answer, or lacks what was asked of it
├── FrameError             an exchange's message that cannot be read, and from which nothing was taken
│   └── VenueRefused       the exchange said no: to a subscription, or to a request
└── StepError              a step that does not follow the last one; the state is left as it was
"""


class SqueezeError(Exception):
    """Base of everything this package raises on purpose."""


class UserError(SqueezeError):
    """The input is at fault; the message names the place, what was expected and what came."""


class ConfigError(UserError):
    """Catch it around reading a YAML file; it names the file and the key."""


class DataError(UserError):
    """Catch it around an import; it names the file, and the row and column where there is one."""


class LakeError(UserError):
    """Catch it around reading recorded history; it names the kind, venue and symbol that was asked for."""


class ModelFileError(UserError):
    """Catch it around `squeeze.load`; nothing of a refused file has been used."""


class OutboxError(UserError):
    """Catch it around opening an outbox, and around storing: what it refuses has not been written."""


class StateFileError(UserError):
    """Catch it around starting from a state file; the stream is as it was."""


class TrackingError(UserError):
    """Catch it around reading or moving tracked runs; nothing was registered."""


class FrameError(SqueezeError):
    """Catch it around `decode` and `Session.on_frame`: count it, mark a gap, go on."""


class VenueRefused(FrameError):
    """Catch it where subscriptions are made: sending the same again will not help."""


class StepError(SqueezeError):
    """Catch it around `MarketState.advance`; feed the next step, or restore a snapshot."""


def one_line(problem: object) -> str:
    """The text of a problem without line breaks, as every message here is.

    >>> one_line(ValueError("no such key:\\n  word"))
    'no such key: word'
    """
    return " ".join(str(problem).split())
