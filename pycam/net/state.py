"""The state of a net, which selects the layers of a file: phase, stages and level, as in Caffe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pycam.errors import UsageError, suggest
from pycam.formats import schema

PHASES = ("TRAIN", "TEST")


def net_state(message: Any, phase: str, stages: Sequence[str], level: int) -> Any:
    """Return the state that a net is made in.

    Parameters
    ----------
    message : NetParameter
        The net. The stages of its own state count, too; its phase and its level do not.
    phase : str
        `TRAIN` or `TEST`.
    stages : sequence of str
        Each of them is named by a rule of the net.
    level : int
        Other than 0 only if a rule of the net has a level.

    Returns
    -------
    NetState

    Raises
    ------
    UsageError
        The net has no such phase, stage or level, or `stages` is a text.
    """
    if phase not in PHASES:
        raise UsageError(f"phase {phase!r}: use one of {', '.join(PHASES)}")
    if isinstance(stages, str):
        raise UsageError(f"stages is {stages!r}; expected a list, as in [{stages!r}]")
    rules = [rule for layer in message.layer for rule in (*layer.include, *layer.exclude)]
    known = stages_of(message)
    for stage in stages:
        if stage not in known:
            named = f"its stages are {', '.join(known)}" if known else "it has none"
            raise UsageError(f"the net has no stage {stage!r}: {suggest(stage, known, named)}")
    if level and not any(rule.HasField("min_level") or rule.HasField("max_level") for rule in rules):
        raise UsageError(f"level {level} selects nothing: the net has no layer with min_level or max_level")
    return schema.NetState(phase=PHASES.index(phase), level=level, stage=[*message.state.stage, *stages])


def stages_of(message: Any) -> list[str]:
    """Return the stages that the rules of a net name."""
    rules = (rule for layer in message.layer for rule in (*layer.include, *layer.exclude))
    return sorted({stage for rule in rules for stage in (*rule.stage, *rule.not_stage)})


def takes_part(layer: Any, state: Any) -> bool:
    """Return True if a layer is part of the net in a state, by its `include` and `exclude` rules."""

    def met(rule: Any) -> bool:
        return (
            (not rule.HasField("phase") or rule.phase == state.phase)
            and (not rule.HasField("min_level") or state.level >= rule.min_level)
            and (not rule.HasField("max_level") or state.level <= rule.max_level)
            and all(stage in state.stage for stage in rule.stage)
            and not any(stage in state.stage for stage in rule.not_stage)
        )

    if layer.include:
        return any(met(rule) for rule in layer.include)
    return not any(met(rule) for rule in layer.exclude)


def describe(state: Any) -> str:
    """Return a state in words: `phase TEST, stages deploy`."""
    words = [f"phase {PHASES[state.phase]}"]
    if state.stage:
        words.append(f"stages {', '.join(state.stage)}")
    if state.level:
        words.append(f"level {state.level}")
    return ", ".join(words)


def describe_rules(layer: Any) -> str:
    """Return in words when a layer takes part: `stage deploy`, or `not phase TEST`."""

    def terms(rule: Any) -> Iterable[str]:
        if rule.HasField("phase"):
            yield f"phase {PHASES[rule.phase]}"
        yield from (f"stage {stage}" for stage in rule.stage)
        yield from (f"without stage {stage}" for stage in rule.not_stage)
        if rule.HasField("min_level"):
            yield f"level {rule.min_level} or more"
        if rule.HasField("max_level"):
            yield f"level {rule.max_level} or less"

    rules = [" with ".join(terms(rule)) for rule in layer.include or layer.exclude]
    return " or ".join(rules) if layer.include else "not " + " and not ".join(rules)
