"""How the value of a setting is shown: as in a recipe, without settings that have their default."""

from __future__ import annotations

from typing import Any

import attrs

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.places import default, name, settings
from harmony_parts.errors import UnknownPart
from harmony_parts.report.text import value


def setting_value(given: Any, parts: Catalogue) -> str:
    """The value of a setting in TOML. A part is shown by its name and its changed settings."""
    if attrs.has(type(given)):
        inside = [
            f"{name(field)} = {setting_value(getattr(given, field.name), parts)}"
            for field in settings(type(given))
            if getattr(given, field.name) != default(field)
        ]
        try:
            use = value(parts.declared(given).name)
        except UnknownPart:  # a class of settings, not a part
            return f"{{ {', '.join(inside)} }}"
        return f"{{ {', '.join([f'use = {use}', *inside])} }}" if inside else use
    if isinstance(given, list | tuple):
        return f"[{', '.join(setting_value(inner, parts) for inner in given)}]"
    if isinstance(given, dict):
        inside = [f"{key} = {setting_value(inner, parts)}" for key, inner in given.items()]
        return f"{{ {', '.join(inside)} }}" if inside else "{}"
    return value(given)
