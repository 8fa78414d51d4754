"""The checks of `harmony parts check`: faults of plugins, and the contract check of each part."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import chain
from typing import Any

import attrs

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import KINDS
from harmony_parts.errors import AssemblyError, HarmonyError, MediaError, UnknownPart, nearest
from harmony_parts.testing.sandbox import OutsideAccess, sandbox


def plugins(available: Catalogue) -> dict[str, str]:
    """Plugin -> package, of all plugins that declare parts or failed to load."""
    return {d.plugin: d.distribution for d in available.list()} | {
        f.plugin: f.distribution for f in available.failures
    }


def chosen(available: Catalogue, plugin: str | None) -> tuple[Declared, ...]:
    """All parts, or those of one plugin, given by its name or its package's name.

    Raises UnknownPart if there is no such plugin.
    """
    if plugin is None:
        return available.list()
    names = plugins(available)
    if plugin not in names and plugin not in names.values():
        near = nearest(plugin, [*names, *names.values()])
        raise UnknownPart(
            f"there is no plugin called {plugin!r}{near}; available: {', '.join(names)}"
        )
    return tuple(
        declared
        for declared in available.list()
        if plugin in (declared.plugin, declared.distribution)
    )


def broken(available: Catalogue, plugin: str | None = None) -> Iterator[str]:
    """The faults of plugins and parts, one text each, without running any part.

    Plugins that failed to load, names declared twice, parts that can't be imported, and classes
    that don't meet the protocol of their kind.
    """
    declared = chosen(available, plugin)
    for failure in available.failures:
        if plugin in (None, failure.plugin, failure.distribution):
            yield f"plugin {failure}"
    for kind, name in dict.fromkeys((each.kind, each.qualified) for each in declared):
        try:
            available.find(kind, name)
        except HarmonyError as error:  # declared twice
            yield str(error)
    for each in declared:
        try:
            available.load_declared(each)
        except HarmonyError as error:
            yield str(error).removesuffix(available.blame())


@attrs.frozen
class Checked:
    """The result of a contract check: a `fault`, or a `hindrance` (why it couldn't be checked).

    Both are empty if the part meets its contract.
    """

    declared: Declared
    fault: str = ""
    hindrance: str = ""


class Hindered(Exception):
    """Raised if a part can't be checked on this machine, or with these neighbours."""


def contract(available: Catalogue, declared: Declared) -> Checked:
    """Run the contract check of a part's kind, if the part can be made from default settings.

    Parts are built with small neighbours in a sandbox, which stops them as soon as they open a file
    or a connection, so nothing is downloaded. Such parts count as hindered, and so do parts that
    refuse these neighbours (AssemblyError, MediaError, ValueError), attention that refuses this
    machine (ValueError), and branches and denoisers, whose defaults are as large as real models.
    Authors check those in their own tests, with `harmony_parts.testing.contracts`.
    """
    try:
        cls = available.load_declared(declared)
    except HarmonyError:
        return Checked(declared, hindrance="can't be loaded")  # `broken` reports why
    check = _checks().get(declared.kind)
    if check is None:
        return Checked(declared, hindrance="its defaults are as large as a real model")
    if required := [
        field.alias for field in attrs.fields(cls) if field.init and field.default is attrs.NOTHING
    ]:
        return Checked(declared, hindrance=f"requires {', '.join(map(str, required))}")
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            sandbox() if KINDS[declared.kind].builds else nullcontext(),
        ):
            check(cls())
    except (Hindered, OutsideAccess) as error:
        return Checked(declared, hindrance=str(error))
    except HarmonyError as error:
        return Checked(declared, fault=f"{declared}: {error}")
    except Exception as error:
        return Checked(declared, fault=f"{declared}: {type(error).__name__}: {error}")
    return Checked(declared)


def _checks() -> dict[str, Callable[[Any], object]]:
    """Kind -> its contract check, for the kinds whose defaults are small."""
    from harmony_parts.av import AV, Format
    from harmony_parts.codecs.dct import DCTVideo
    from harmony_parts.codecs.logmel import LogMel
    from harmony_parts.testing import contracts
    from harmony_parts.testing.contracts.layers import make_branches

    form = Format(fps=12, height=64, width=64, sample_rate=16000, seconds=1.0)

    def codecs() -> Any:
        return AV(DCTVideo().build(format=form), LogMel().build(format=form))

    def branches() -> Any:
        return make_branches(None)

    return {
        "video_codec": _built(
            lambda spec: contracts.check_video_codec(spec, form), format=lambda: form
        ),
        "audio_codec": _built(
            lambda spec: contracts.check_audio_codec(spec, form), format=lambda: form
        ),
        "encoder": _built(
            lambda spec: contracts.check_encoder(spec, form, codecs()),
            format=lambda: form,
            codecs=codecs,
        ),
        "interaction": _built(contracts.check_interaction, branches=branches),
        "attention": _attention,
        "style": _built(contracts.check_style, branches=branches),
        "path": contracts.check_path,
        "shift": contracts.check_shift,
        "density": contracts.check_density,
        "solver": contracts.check_solver,
        "task": contracts.check_task,
        "anchor": lambda anchor: contracts.check_anchor(anchor, codecs()),
        "guidance": lambda guidance: contracts.check_guidance(guidance, hints=_hints(guidance)),
        "data": _built(lambda spec: contracts.check_data(spec, form), format=lambda: form),
        "metric": _metric,
        "filter": _built(contracts.check_filter),
        "source": _built(contracts.check_source),
        "scene": contracts.check_scene,
        "reference": contracts.check_reference,
        "optimizer": contracts.check_optimizer,
        "schedule": contracts.check_schedule,
        "trainable": _trainable,
        "strategy": contracts.check_strategy,
        "callback": contracts.check_callback,
    }


def _built(
    check: Callable[[Any], object], **neighbours: Callable[[], Any]
) -> Callable[[Any], object]:
    """A check that is hindered if the part can't be built with these neighbours."""

    def checked(spec: Any) -> None:
        try:
            spec.build(**{name: make() for name, make in neighbours.items()})
        except (AssemblyError, MediaError, ValueError) as error:
            raise Hindered(_line(error)) from error
        check(spec)

    return checked


def _metric(spec: Any) -> None:
    """Hindered if the metric can't score Soundstage's clips: its author has others."""
    from harmony_parts.testing.contracts.metrics import NothingScored, check_metric

    try:
        check_metric(spec)
    except NothingScored as error:
        raise Hindered("gives no number for Soundstage's balls and hammers") from error


def _trainable(trainable: Any) -> None:
    """Hindered if its patterns are of other networks' modules."""
    from harmony_parts.testing.contracts import check_trainable
    from harmony_parts.testing.contracts.small_network import SmallNetwork

    try:
        trainable.prepare(SmallNetwork())
    except ValueError as error:
        raise Hindered(_line(error)) from error
    check_trainable(trainable)


def _attention(attention: Any) -> None:
    """Check attention on the CPU or, if it refuses the CPU, on a GPU."""
    import torch

    from harmony_parts.testing.contracts.attention import check_attention

    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        try:
            return check_attention(attention, device=device)
        except ValueError as error:
            refused = error
    raise Hindered(_line(refused))


def _line(error: Exception) -> str:
    """The message of an error on one line, without the heading of an AssemblyError."""
    cause = (
        error.faults[0] if isinstance(error, AssemblyError) else str(error) or type(error).__name__
    )
    return textwrap.shorten(cause, 120, placeholder=" ...")


def _hints(guidance: Any) -> tuple[str, ...]:
    """The hints that it requests; assembling a model checks that its denoiser supports them."""
    from harmony_parts.guidance.demands import demands
    from harmony_parts.testing.contracts.guidance import STEPS

    return tuple(demands(guidance, times=chain.from_iterable(STEPS.values())).hints)
