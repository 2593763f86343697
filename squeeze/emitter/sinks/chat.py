"""Messages to people, through apprise: Telegram, Discord, Slack, e-mail and what else it knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeeze.emitter.letter import Letter
from squeeze.emitter.sinks.sink import SinkDown, SinkSpec, Type, extra, secret
from squeeze.emitter.text import title_and_text
from squeeze.errors import ConfigError
from squeeze.signals.message import decode
from squeeze.strict import require

FOR_PEOPLE: tuple[Type, ...] = ("entry", "exit", "protect", "alert")


class Chat(SinkSpec, frozen=True, kw_only=True, tag="chat"):
    """A text for each entry, exit, protect and alert."""

    types: tuple[Type, ...] = FOR_PEOPLE
    """Any of entry, exit, protect, alert."""
    urls_env: str = "SQUEEZE_CHAT_URLS"
    """The environment variable that holds apprise's URLs, with spaces between them; they hold tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(set(self.types) <= set(FOR_PEOPLE), f"types: any of {', '.join(FOR_PEOPLE)}")

    def make(self, outbox: Path) -> "ChatSink":
        """The sink; `ConfigError` where apprise or the URLs are absent, or one of them is none that apprise knows."""
        module = extra("apprise", f"sink {self.name}")
        places = []
        for number, url in enumerate(secret(self.urls_env, f"sink {self.name}").split(), 1):
            places.append(module.Apprise())
            if not places[-1].add(url):
                raise ConfigError(f"sink {self.name}: URL {number} in {self.urls_env} is none that apprise knows")
        return ChatSink(places)


class ChatSink:
    """Tells each place once; after a failure only those that were not reached are tried again."""

    most = 1

    def __init__(self, places: Sequence[Any]) -> None:
        self._places = places
        self._told: set[tuple[str, int]] = set()

    def send(self, letters: Sequence[Letter]) -> None:
        """Tell all; `SinkDown` unless each place took it."""
        for letter in letters:
            title, text = title_and_text(decode(letter.body))
            self._told = {(event, place) for event, place in self._told if event == letter.event_id}
            for number, place in enumerate(self._places):
                if (letter.event_id, number) not in self._told:
                    if not place.notify(body=text, title=title):
                        raise SinkDown(f"place {number + 1} of {len(self._places)} was not reached")
                    self._told.add((letter.event_id, number))

    def close(self) -> None:
        """Nothing is held."""
