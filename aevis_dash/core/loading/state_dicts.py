"""Which tensors of a file are a model's weights: in which of its dicts, behind which prefix, and what is left over."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

DEEPEST = 4
"""How many dicts around a state dict are looked into."""
_BOOKKEEPING = ("num_batches_tracked", "total_ops", "total_params")
"""The last words of names under which a model counts batches, and the package thop counts operations."""
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""The names under which wrappers of torch hold the module that they wrap."""
_NORMALISER = re.compile(r"(?:\w*_)?(mean|mu|std|sigma)")
_AVERAGE = re.compile(r"(^|[._])(ema|averaged?|avg|swa|shadow|teacher|momentum|encoder_k)([._]|$)", re.IGNORECASE)
"""The words by which the average of a model's weights over the training is known."""


_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""What torchvision's published weights of DenseNet call otherwise than its DenseNet does; it takes the dot out too."""


@dataclass(frozen=True)
class State:
    """A dict of a file that holds tensors.

    Attributes:
        path: the keys of the dicts around it.
        tensors: its tensors by their names there.
        versions: what torch.save wrote of the versions of the modules, by the modules' names.
    """

    path: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    versions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What a model needs of a file.

    Attributes:
        tensors: the model's parameters and buffers by name, other than counts of batches.
        counts: the names of the model's counts of batches, which a file may lack.
        same: for each name the names under which the model holds the same tensor, itself included.
    """

    tensors: Mapping[str, Tensor]
    counts: frozenset[str]
    same: Mapping[str, Sequence[str]]

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of the names that stands between two dots."""
        return frozenset(word for name in self.tensors for word in name.split("."))

    @cached_property
    def own_prefixes(self) -> tuple[str, ...]:
        """The beginnings that all the model's names share, from none to the longest."""
        names = [name.split(".") for name in self.tensors]
        prefixes = [""]
        for words in zip(*(name[:-1] for name in names), strict=False):
            if len(set(words)) > 1:
                break
            prefixes.append(f"{prefixes[-1]}{words[0]}.")
        return tuple(prefixes)


@dataclass(frozen=True)
class Normaliser:
    """The mean and std by which a file's model normalises images, and their names in the file."""

    names: tuple[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Fit:
    """The tensors of a state dict whose names, without a prefix, are names of the model.

    Attributes:
        state: the state dict.
        prefix: what stands before each of the names in the file.
        own: what stands before each of the names in the model, and not in the file.
        unwrapped: whether the words of wrappers were left out inside the names.
        keys: for each name of the model, the name in the state dict.
        needs: what the model needs.
        inside: the other names that begin with the prefix, without bookkeeping.
    """

    state: State
    prefix: str
    own: str
    unwrapped: bool
    keys: Mapping[str, str]
    needs: Needs
    inside: tuple[str, ...] = field(default=())

    @property
    def place(self) -> str:
        """The name by which `--weights-key` chooses it."""
        return ".".join([*self.state.path, *([self.prefix[:-1]] if self.prefix else [])]) or "."

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The file's tensors by the model's names."""
        return {name: self.state.tensors[key] for name, key in self.keys.items()}

    @property
    def versions(self) -> dict[str, Any]:
        """What the file says of the versions of the model's modules, by the model's names of them."""
        home = self.prefix.removesuffix(".")
        inside = {name: value for name, value in self.state.versions.items() if f"{name}.".startswith(self.prefix)}
        own = self.own.removesuffix(".")
        return {".".join(filter(None, (own, name[len(home) :].strip(".")))): value for name, value in inside.items()}

    @property
    def missing(self) -> list[str]:
        """The model's names that are not in the file."""
        return [name for name in self.needs.tensors if name not in self.keys]

    @property
    def misshapen(self) -> list[str]:
        """The model's names whose tensors in the file have another shape."""
        pairs = ((name, self.needs.tensors.get(name), tensor) for name, tensor in self.tensors.items())
        return [name for name, own, given in pairs if own is not None and shape(own) not in (None, given.shape)]

    @property
    def is_average(self) -> bool:
        """Whether it is called as averages of weights are called."""
        return any(_AVERAGE.search(word) for word in (*self.state.path, self.prefix))

    @property
    def rest(self) -> list[str]:
        """The names of the state dict that are not the model's, without bookkeeping."""
        used = set(self.keys.values())
        return [key for key in self.state.tensors if key not in used and not _is_bookkeeping(key)]


def shape(tensor: Tensor) -> torch.Size | None:
    """The shape of a tensor; None where it is a lazy module's, whose shape is not known yet."""
    return None if isinstance(tensor, UninitializedParameter | UninitializedBuffer) else tensor.shape


def needs_of(model: nn.Module) -> Needs:
    """Say what a model needs of a file of weights."""
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    alike: dict[int, list[str]] = defaultdict(list)
    for name, value in own.items():
        alike[id(value)].append(name)
    counts = frozenset(name for name in own if _is_bookkeeping(name))
    tensors = {name: value for name, value in own.items() if name not in counts}
    return Needs(tensors, counts, {name: alike[id(value)] for name, value in own.items()})


def states_in(tree: Any, path: tuple[str, ...] = ()) -> Iterator[State]:
    """Find the dicts of a file's contents that hold tensors under names, other than the states of optimizers."""
    if not isinstance(tree, Mapping) or is_optimizer(tree) or len(path) > DEEPEST:
        return
    tensors = {
        _OLD_DENSENET.sub(r"\1\2", key): value
        for key, value in tree.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if tensors:
        versions = getattr(tree, "_metadata", None)
        yield State(path, tensors, versions if isinstance(versions, Mapping) else {})
    for key, value in tree.items():
        if isinstance(key, str):
            yield from states_in(value, (*path, key))


def is_optimizer(tree: Any) -> bool:
    """Tell whether a dict is what an optimizer of torch saves."""
    return isinstance(tree, Mapping) and {"state", "param_groups"} <= set(tree)


def fits_in(state: State, needs: Needs) -> list[Fit]:
    """Find, for each prefix in a state dict, the tensors behind it whose names are the model's.

    Returns:
        The fits in the order in which they begin in the file; most of them lack some of the model's tensors.
    """
    found: list[Fit] = []
    plain = {key: key for key in state.tensors}
    bare = {_without_wrappers(key, needs.words): key for key in state.tensors}
    for named, unwrapped in ((plain, False), (bare, True)):
        if unwrapped and (bare.keys() == plain.keys() or any(not fit.missing for fit in found)):
            continue
        for own in needs.own_prefixes:
            if own and any(not fit.missing for fit in found):
                break
            found += _by_prefix(state, needs, named, own, unwrapped)
    return found


def _by_prefix(state: State, needs: Needs, named: Mapping[str, str], own: str, unwrapped: bool) -> Iterator[Fit]:
    wanted = {name[len(own) :]: name for name in (*needs.tensors, *needs.counts)}
    keys: dict[str, dict[str, str]] = defaultdict(dict)
    for shown, key in named.items():
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", shown))):
            if shown[start:] in wanted:
                keys[shown[:start]][wanted[shown[start:]]] = key
    for prefix, by_name in keys.items():
        for name, alike in needs.same.items():
            held = next((other for other in alike if other in by_name), None)
            if name not in by_name and held is not None:
                by_name[name] = by_name[held]
        used = set(by_name.values())
        inside = (key for shown, key in named.items() if shown.startswith(prefix) and key not in used)
        yield Fit(
            state, prefix, own, unwrapped, by_name, needs, tuple(key for key in inside if not _is_bookkeeping(key))
        )


def foreign(fit: Fit, others: Iterable[Fit], spare: Sequence[str] = ()) -> list[str]:
    """Name the tensors behind a fit's prefix that belong to no model that is known.

    Args:
        fit: the fit.
        others: all fits of the same file. Where one of them lacks nothing, its tensors are another copy of the model.
        spare: the beginnings of names that the model can do without.
    """
    copies = {
        key
        for other in others
        if other.state is fit.state and len(other.prefix) > len(fit.prefix) and not other.missing
        for key in other.keys.values()
    }
    return [
        key
        for key in fit.inside
        if key not in copies
        and not (spare and key.removeprefix(fit.prefix).startswith(tuple(spare)))
        and not is_of_normaliser(key, fit.state.tensors[key])
    ]


def is_of_normaliser(key: str, tensor: Tensor) -> bool:
    """Tell whether a tensor is a mean or std of the three colours, or of all."""
    return bool(_NORMALISER.fullmatch(key.rpartition(".")[2])) and tensor.numel() in (1, 3) and "running" not in key


def normaliser_in(state: State, keys: Iterable[str]) -> Normaliser | None:
    """Find the first normaliser among some tensors of a state dict; None where there is none with mean and std."""
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for key in keys:
        if is_of_normaliser(key, state.tensors[key]):
            parent, _, own = key.rpartition(".")
            kinds[parent]["mean" if own.endswith(("mean", "mu")) else "std"] = key
    for pair in kinds.values():
        if len(pair) == 2:
            mean, std = (tuple(state.tensors[pair[kind]].flatten().float().tolist()) for kind in ("mean", "std"))
            return Normaliser((pair["mean"], pair["std"]), mean, std)
    return None


def _is_bookkeeping(name: str) -> bool:
    return name.rpartition(".")[2] in _BOOKKEEPING


def _without_wrappers(key: str, words: frozenset[str]) -> str:
    """A name without the words of wrappers, as far as the model's own names have no such words."""
    return ".".join(word for word in key.split(".") if word not in _WRAPPERS or word in words)
