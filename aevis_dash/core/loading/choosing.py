"""Putting the weights of a file into a model: all of them or none, and in words what was taken, or why nothing fits."""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from aevis_dash.core.loading.state_dicts import (
    Fit,
    Needs,
    Normaliser,
    State,
    fits_in,
    foreign,
    is_optimizer,
    needs_of,
    normaliser_in,
    shape,
    states_in,
)
from aevis_dash.core.loading.weight_files import JOIN_PARTS, FileContents
from aevis_dash.domain import AevisError, reason_of, so_many

_NAMED = 6
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.")
"""How many places of a file a message names at most."""


@dataclass(frozen=True)
class Weights:
    """What a file holds, and which of it is asked for.

    Attributes:
        path: the file.
        contents: what was read of it.
        key: the place that `--weights-key` names; "" for the first that fits.
        source: the model, as the user named it.
        spare: the beginnings of names in the file that the model can do without.
    """

    path: Path
    contents: FileContents
    key: str
    source: str
    spare: Sequence[str] = ()


@dataclass(frozen=True)
class Taken:
    """What was taken of a file.

    Attributes:
        notes: sentences that say what was taken and what was left aside.
        normaliser: the mean and std that the file holds beside the weights.
    """

    notes: tuple[str, ...]
    normaliser: Normaliser | None


class Misfit(AevisError):
    """The refusal of a file whose weights are not the model's.

    Attributes:
        classes: the number of classes of the file's last layer, where nothing but this number does not fit.
    """

    def __init__(self, message: str, classes: int | None = None):
        super().__init__(message)
        self.classes = classes


def put_into(model: nn.Module, weights: Weights) -> Taken:
    """Put the weights of a file into a model.

    Raises:
        Misfit: the file's tensors are not those of the model; it lacks one, or has another shape or more of them.
        AevisError: the file holds no weights, none at the place that is asked for, or no real numbers.
    """
    needs = needs_of(model)
    states = list(states_in(weights.contents.tree))
    if not states:
        raise AevisError(_no_states(weights))
    found = [fit for state in states for fit in fits_in(state, needs)]
    asked = _asked_for(weights, states, found)
    exact = [fit for fit in asked if not (fit.missing or fit.misshapen or foreign(fit, found, weights.spare))]
    if not exact:
        raise _misfit(weights, states, asked, found, needs)
    distinct = _distinct(sorted(exact, key=lambda fit: fit.is_average))
    chosen = distinct[0]
    _load(model, chosen, weights)
    return Taken(
        _notes(weights, chosen, distinct, [fit for fit in exact if fit not in distinct]),
        normaliser_in(chosen.state, chosen.rest),
    )


def _asked_for(weights: Weights, states: Sequence[State], found: Sequence[Fit]) -> list[Fit]:
    """The fits at the place that is asked for, all of them where none is."""
    key = weights.key.strip(".")
    if not weights.key:
        return list(found)
    named = [fit for fit in found if fit.place == weights.key or fit.place.strip(".") == key]
    named = named or [fit for fit in found if key and fit.place.startswith(f"{key}.")]
    if not named and not any(".".join(state.path) == key for state in states):
        whole = [fit.place for fit in found if not fit.missing]
        places = list(dict.fromkeys(whole or [".".join(state.path) or "." for state in states]))
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        raise AevisError(
            f"{weights.path} has no weights under {weights.key!r}, which --weights-key names. It has: "
            f"{', '.join(places[:_NAMED])}{more}."
        )
    return named


def _distinct(fits: Sequence[Fit]) -> list[Fit]:
    """The fits without those that hold the same numbers as an earlier one."""
    kept: list[Fit] = []
    for fit in fits:
        if not any(_same(fit, other) for other in kept):
            kept.append(fit)
    return kept


def _same(one: Fit, other: Fit) -> bool:
    first, second = one.tensors, other.tensors
    return all(_equal(first[name], second[name]) for name in one.needs.tensors)


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.layout != other.layout or one.is_meta or other.is_meta or one.is_quantized:
        return False
    return one is other or torch.equal(one, other)


def _load(model: nn.Module, fit: Fit, weights: Weights) -> None:
    given = {name: _as_numbers(name, tensor, fit, weights) for name, tensor in fit.tensors.items()}
    left = [name for name, _ in model.named_parameters(remove_duplicate=False) if name not in given]
    on_meta = any(tensor.is_meta for tensor in fit.needs.tensors.values())
    state = OrderedDict(given)
    versions = getattr(model.state_dict(), "_metadata", {}) | fit.versions
    vars(state)["_metadata"] = versions
    try:
        model.load_state_dict(state, strict=False, assign=on_meta)
    except Exception as error:  # A module's own way of loading may raise anything.
        raise AevisError(
            f"The weights in {weights.path} cannot be put into {weights.source}: {reason_of(error)}."
        ) from error
    now = model.state_dict()
    left += [name for name in fit.needs.tensors if not _arrived(now[name], given[name])]
    if left:
        raise AevisError(
            f"The weights in {weights.path} do not reach {so_many(len(left), 'tensor')} of {weights.source}, first "
            f"{left[0]!r}, which would keep what the model was made with. Let the model's state_dict() and "
            "load_state_dict() be those of torch, and let no two names that differ in the file share one tensor."
        )


def _arrived(own: Tensor, given: Tensor) -> bool:
    own, given = own.detach().cpu(), given.detach().to(own.dtype)
    return own.shape == given.shape and (torch.equal(own, given) or torch.allclose(own, given, 0, 0, equal_nan=True))


def _as_numbers(name: str, given: Tensor, fit: Fit, weights: Weights) -> Tensor:
    """A tensor of the file as the model takes it; raises AevisError where it does not hold real numbers one by one."""
    own = fit.needs.tensors.get(name)
    is_plain = given.layout == torch.strided and not (given.is_meta or given.is_quantized)
    if is_plain and (given.is_floating_point() or own is None or not own.is_floating_point()):
        return given.float() if given.is_floating_point() else given
    kind = "no numbers, only shapes" if given.is_meta else f"{given.dtype}"
    if given.layout != torch.strided:
        kind += f" in the layout {given.layout}"
    place = f" in place of {own.dtype}" if own is not None and own.dtype != given.dtype else ""
    cause = "They were quantised: give" if given.is_quantized or given.dtype in (torch.int8, torch.uint8) else "Give"
    raise AevisError(
        f"The weights in {weights.path} do not fit {weights.source}: {fit.keys[name]!r} holds {kind}{place}. {cause} "
        "the weights as real numbers."
    )


# What was taken, in words


def _notes(weights: Weights, chosen: Fit, distinct: Sequence[Fit], copies: Sequence[Fit]) -> tuple[str, ...]:
    notes = []
    if chosen.state.path:
        notes.append(f"the weights are those under {'.'.join(chosen.state.path)!r} in {weights.path.name}")
    if chosen.prefix:
        notes.append(f"the prefix {chosen.prefix!r} was taken off the names in the file")
    if chosen.own:
        notes.append(f"the prefix {chosen.own!r} of the model's names was put before the names in the file")
    if chosen.unwrapped:
        notes.append("the words of wrappers, such as 'module' and '_orig_mod', were taken out of the names in the file")
    if len(distinct) > 1:
        others = ", ".join(fit.place for fit in distinct[1 : _NAMED + 1])
        why = "is no average and " if any(fit.is_average for fit in distinct) and not chosen.is_average else ""
        asked = "as --weights-key says" if weights.key else f"because it {why}comes first"
        notes.append(
            f"{weights.path.name} holds several sets of weights that fit: {chosen.place} was taken, {asked}; "
            f"--weights-key takes another: {others}"
        )
    if rest := chosen.rest:
        notes.append(_left_aside(chosen, rest, copies))
    if weights.contents.unopened:
        names = weights.contents.unopened
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        notes.append(f"what {', '.join(names[:3])}{more} would have made of the file was not opened")
    return tuple(notes)


def _left_aside(chosen: Fit, rest: Sequence[str], copies: Sequence[Fit]) -> str:
    """Say which of the tensors beside the chosen ones were left aside."""
    again = {key for fit in copies if fit.state is chosen.state for key in fit.keys.values()} & set(rest)
    other = [key for key in rest if key not in again]
    such = [*other, *(key for key in rest if key in again)][:2]
    copied = f", of which {len(again)} are a copy of the weights" if again else ""
    return (
        f"{so_many(len(rest), 'other tensor')} of the file {'was' if len(rest) == 1 else 'were'} left aside{copied}: "
        + (", ".join(such) + (" and others" if len(rest) > len(such) else ""))
    )


# Why nothing fits


def _no_states(weights: Weights) -> str:
    tree, unopened = weights.contents.tree, weights.contents.unopened
    if is_optimizer(tree) or (isinstance(tree, Mapping) and any(map(is_optimizer, tree.values()))):
        return (
            f"{weights.path} holds the state of an optimizer, and no weights of a model. Give the file that "
            "model.state_dict() was saved into."
        )
    if unopened:
        return (
            f"{weights.path} is not a file of plain tensors, so it is not opened: it names {', '.join(unopened[:3])}, "
            "which was not run. Save it again with torch.save(model.state_dict(), ...) or safetensors."
        )
    kind = f"a {type(tree).__name__}"
    if isinstance(tree, Mapping):
        kind = "a dict without tensors under names" if tree else "an empty dict"
    return (
        f"{weights.path} does not hold a state dict of tensors under their names, but {kind}. Save model.state_dict()."
    )


def _misfit(
    weights: Weights, states: Sequence[State], asked: Sequence[Fit], found: Sequence[Fit], needs: Needs
) -> Misfit:
    if part := _PART.search(weights.path.name):
        return Misfit(f"{weights.path} is part {int(part[1])} of {int(part[2])} of a model's weights. {JOIN_PARTS}")
    begins = f"The weights in {weights.path} do not fit {weights.source}: "
    if not asked:
        chosen = next((state for state in states if ".".join(state.path) == weights.key.strip(".")), states[0])
        largest = chosen if weights.key else max(states, key=lambda state: len(state.tensors))
        if any("_flat_param" in name for name in largest.tensors):
            return Misfit(
                f"{begins}they are parts as FSDP splits a model. Save its whole state dict "
                "(StateDictType.FULL_STATE_DICT)."
            )
        return Misfit(
            f"{begins}they share no name. The file's names begin with {next(iter(largest.tensors))!r}, the model's "
            f"with {next(iter(needs.tensors), '')!r}. Give the weights of this architecture, or the architecture "
            "of these weights."
        )
    near = max(asked, key=lambda fit: (len(fit.keys) - len(fit.misshapen), len(fit.keys)))
    missing, misshapen, more = near.missing, near.misshapen, foreign(near, found, weights.spare)
    said = [
        f"{name} is {_size(near.tensors[name])} in the file and {_size(needs.tensors[name])} in the model"
        for name in misshapen[:2]
    ]
    if len(misshapen) > 2:
        said.append(f"{so_many(len(misshapen) - 2, 'more tensor')} of other sizes")
    if missing:
        said.append(
            f"{len(missing)} of the model's {so_many(len(needs.tensors), 'tensor')} {_are(missing)} not in the file, "
            f"such as {missing[0]} {_size(needs.tensors[missing[0]])}"
        )
    if more:
        said.append(
            f"{len(more)} of the file's {_are(more)} not in the model, such as {more[0]} "
            f"{_size(near.state.tensors[more[0]])}"
        )
    head = _head(near) if not (missing or more) else None
    if head is not None:
        layer, theirs, ours = head
        return Misfit(
            f"{begins}the file's last layer {layer} has {theirs} classes, the model's {ours}. Let the model have "
            f"{theirs}, for instance by --model-args, and give their names with --classes.",
            theirs,
        )
    return Misfit(f"{begins}{'; '.join(said)}. {_cause(near, missing, misshapen, more)}")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _size(tensor: Tensor) -> str:
    size = shape(tensor)
    return "of a size not known yet" if size is None else f"({', '.join(map(str, size))})"


def _head(fit: Fit) -> tuple[str, int, int] | None:
    """The layer, the number of classes in the file and in the model, where nothing but that number is another."""
    wrong = fit.misshapen
    sizes = {(fit.tensors[name].shape[:1], fit.needs.tensors[name].shape[:1]) for name in wrong}
    alike = all(fit.tensors[name].shape[1:] == fit.needs.tensors[name].shape[1:] for name in wrong)
    layers = {name.rpartition(".")[0] for name in wrong}
    whole = all(name in wrong for name in fit.needs.tensors if name.rpartition(".")[0] in layers)
    if not (alike and whole) or len(sizes) != 1:
        return None
    (theirs, ours) = next(iter(sizes))
    if len(theirs) != 1 or len(ours) != 1:
        return None
    return wrong[-1].rpartition(".")[0] or "of the model", int(theirs[0]), int(ours[0])


_MADE_OTHERWISE = {
    r"(^|\.)lora_": "The file holds the additions of LoRA. Merge them into the weights, as merge_and_unload() of peft "
    "does, and save those.",
    r"\.weight_(orig|mask)$": "The file is of a pruned model. Call torch.nn.utils.prune.remove for each pruned module, "
    "and save it again.",
    r"\.weight_[guv]$|\.parametrizations\.": "The file is of a model whose weights are parametrised, as by a weight "
    "norm. Give a function that makes the model so, or remove that from the model and save it again.",
}
"""What names in a file say of how its model was made, and what to do about it."""


def _cause(near: Fit, missing: Sequence[str], misshapen: Sequence[str], more: Sequence[str]) -> str:
    """Guess why nothing fits, and say what to do."""
    if any(key.rpartition(".")[2] in ("zero_point", "_packed_params", "scale") for key in near.state.tensors):
        return "The file seems to be quantised. Give the weights of the model before it was quantised."
    for mark, cause in _MADE_OTHERWISE.items():
        if any(re.search(mark, key) for key in more):
            return cause
    last = {name.rpartition(".")[0] for name in missing}
    if len(last) == 1 and (layer := next(iter(last))) and any(f"{layer}." in key for key in more):
        return f"The layer {layer} is made of other parts in the file. Give a function that makes the model so."
    if not missing and not misshapen:
        return "The file is of a model with more layers. Give the architecture of these weights."
    if not missing and not more:
        return "The names are the same, so it is another size of this architecture. Give the model of these sizes."
    return "Give the weights of this architecture, or the architecture of these weights."
