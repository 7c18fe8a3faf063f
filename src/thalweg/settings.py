"""Changing one setting of a configuration by name: ``model.projector=0``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_type_hints

from thalweg.errors import ThalwegError, choices

__all__ = ["changed"]

Config = TypeVar("Config")


def changed(config: Config, assignments: Sequence[str]) -> Config:
    """A copy of a (nested, frozen) configuration with every ``PATH=VALUE`` of ``assignments`` applied in order.

    Raises:
        ThalwegError: no such setting, or a value of another type.
    """
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals or not path:
            raise ThalwegError(f"cannot read the setting {assignment!r}; write it as model.projector=0")
        config = _changed(config, path.split("."), value, assignment)
    return config


def _changed(config: Any, path: list[str], value: str, assignment: str) -> Any:
    name, *rest = path
    known = [field.name for field in fields(config)]
    if name not in known:
        raise ThalwegError(f"unknown setting {name!r} in {assignment!r}; choose one of {choices(known)}")
    current = getattr(config, name)
    if is_dataclass(current):
        if not rest:
            inner = choices([f"{name}.{field.name}" for field in fields(current)])
            raise ThalwegError(f"{name!r} in {assignment!r} is a group of settings; choose one of {inner}")
        return replace(config, **{name: _changed(current, rest, value, assignment)})
    if isinstance(current, tuple) and not rest:
        return replace(config, **{name: _read_list(value, assignment)})
    optional = [kind for kind in get_args(get_type_hints(type(config))[name]) if kind in (int, float)]
    if optional and not rest:
        return replace(config, **{name: None if value.lower() == "none" else _read(value, optional[0], assignment)})
    if rest or not isinstance(current, bool | int | float | str):
        raise ThalwegError(f"{'.'.join(path)!r} in {assignment!r} cannot be set this way; it is {current!r}")
    return replace(config, **{name: _read(value, type(current), assignment)})


def _read_list(value: str, assignment: str) -> tuple:
    try:
        items = json.loads(value)
        return tuple(tuple(item) if isinstance(item, list) else item for item in items)
    except (TypeError, ValueError) as error:
        raise ThalwegError(f"{assignment!r}: expected a list such as [1, 2] or [], got {value!r}") from error


def _read(value: str, kind: type, assignment: str) -> Any:
    words = {"true": True, "false": False}
    try:
        return words[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError) as error:
        expected = "true or false" if kind is bool else {int: "a whole number", float: "a number"}[kind]
        raise ThalwegError(f"{assignment!r}: expected {expected}, got {value!r}") from error
