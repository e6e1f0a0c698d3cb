"""Making sources: what a name, a preset and the rest have to be."""

import re
from collections.abc import Sequence

import limits
from django.conf import settings

from aggregator.models import Source
from aggregator.models.sources import SOURCE_NAME
from aggregator.sources.mapping import InvalidMapping, compile_mapping
from aggregator.sources.presets import STREAM_PRESETS, presets
from ecosystems import ECOSYSTEMS
from ecosystems.env import parse_network
from ecosystems.signal import RULES, is_agent_source


class InvalidSource(ValueError):
    """What was asked for cannot be a source; the text says in one line why. `field` is what is wrong."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def new_source(
    name: str,
    preset: str,
    ecosystem: str = "",
    agent: str = "",
    networks: Sequence[str] = (),
    stream: str = "",
    mapping: str = "",
    agents: Sequence[str] = (),
) -> Source:
    """Return a source that is not saved yet. Raises InvalidSource."""
    if not re.fullmatch(SOURCE_NAME, name):
        raise InvalidSource("name", "a name has at most 64 letters, digits, '.', '_' and '-'")
    if Source.objects.filter(name=name).exists():
        raise InvalidSource("name", f"a source {name} exists already")
    known = presets()
    if preset not in known:
        raise InvalidSource("preset", f"there is no preset {preset!r}; there are {', '.join(known)}")
    if ecosystem and ecosystem not in ECOSYSTEMS:
        raise InvalidSource("ecosystem", f"there is no ecosystem {ecosystem!r}; {', '.join(ECOSYSTEMS)}")
    if preset in STREAM_PRESETS and not stream:
        raise InvalidSource("stream", f"a source of {preset} reads a stream: say which")
    check_stream(stream)
    check_mapping(mapping)
    agent = agent or next(iter(agents), name)
    check_agents(agents, agent)
    return Source(
        name=name,
        preset=preset,
        ecosystem=ecosystem or known[preset].ecosystem,
        agent=agent,
        agents=list(dict.fromkeys(agents)),
        networks=[checked_network(network) for network in networks],
        stream=stream,
        mapping=mapping,
    )


def check_agents(names: Sequence[str], own: str) -> None:
    """Raise InvalidSource for what is no agent's name, its own included, or for names without its own."""
    for field, given in (("agent", [own]), ("agents", names)):
        if not all(map(is_agent_source, given)):
            raise InvalidSource(field, f"a name is a {RULES['agent_source']}, without invisible ones")
    if names and own not in names:
        raise InvalidSource("agents", f"{own} is the source's own agent, and must be among those it may name")


def checked_network(text: str) -> str:
    """Return an address or a network in its canonical form. Raises InvalidSource."""
    try:
        return str(parse_network(text.strip()))
    except ValueError:
        raise InvalidSource("networks", f"{text!r} is neither an address nor a network (CIDR)") from None


def check_rate(text: str) -> None:
    """Raise InvalidSource for what is no rate."""
    try:
        limits.parse(text)
    except ValueError:
        raise InvalidSource("rate", "a rate is written as 600/minute") from None


def check_stream(key: str) -> None:
    """Raise InvalidSource for a key that another source, or the hub itself, reads."""
    environment = settings.ENVIRONMENT
    if key in {f"{environment.stream_prefix}:{topic}" for topic in environment.stream_topics}:
        raise InvalidSource("stream", f"{key} is the hub's own stream, which takes signals as they are")
    if key and Source.objects.filter(stream=key, revoked_at=None).exists():
        raise InvalidSource("stream", f"another source reads the stream {key}")


def check_mapping(text: str) -> None:
    """Raise InvalidSource for a mapping that cannot be used."""
    try:
        if text and compile_mapping(text).is_empty:
            raise InvalidSource("mapping", "fields: say at least where symbol and action are")
    except InvalidMapping as error:
        raise InvalidSource("mapping", str(error)) from None
