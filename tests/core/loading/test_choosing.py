"""Which tensors of a file become a model's weights. The right answer is what torch alone says of the same weights."""

import re
import sys
import textwrap
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import loading_nets
import pytest
import torch
import torchvision
from loading_nets import Net, Split, Tied, split
from safetensors.torch import save_file, save_model
from torch import nn

from aevis_dash.core import loading
from aevis_dash.core.loading.choosing import Weights, put_into
from aevis_dash.core.loading.weight_files import FileContents
from aevis_dash.domain import AevisError, ModelSpec, Preprocessing

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def trained(kind=Net, seed=7, **options):
    """A network none of whose parameters and buffers is what it was made with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(**options).eval()
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.1)
    return model


def load(path, source="loading_nets:Net", **options):
    return loading.load_model(ModelSpec(source, str(path), **options))


def said(loaded):
    return "; ".join(loaded.notes)


def check_same(loaded, model):
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(X), model(X), rtol=0, atol=0)


def prefixed(model, prefix):
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


@pytest.fixture
def saved(tmp_path):
    def save(tree):
        torch.save(tree, tmp_path / "w.pt")
        return tmp_path / "w.pt"

    return save


def refusal(path, source="loading_nets:Net", **options):
    """What is said, which is a few lines long whatever the path is."""
    with pytest.raises(AevisError) as caught:
        load(path, source, **options)
    text = str(caught.value)
    assert len(textwrap.wrap(text.replace(str(path), "w.pt"), 120)) <= 5
    return text


def test_plain_weights_need_no_words(saved):
    model = trained()
    loaded = load(saved(model.state_dict()))
    check_same(loaded, model)
    assert loaded.notes == ()


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "backbone.",
        "net.",
        "encoder.",
        "any.other.",
        "module.model.",
        "module._orig_mod.",
    ],
)
@pytest.mark.parametrize("write", [torch.save, save_file])
def test_a_prefix_of_all_names_is_taken_off_and_said(tmp_path, prefix, write):
    model, path = trained(), tmp_path / "weights"
    write(prefixed(model, prefix), path)
    loaded = load(path)
    check_same(loaded, model)
    assert loaded.notes == (f"the prefix '{prefix}' was taken off the names in the file",)


def test_a_prefix_of_the_models_own_names_is_put_before_those_of_the_file(saved):
    model = trained()
    loaded = load(saved(prefixed(model, "module.")), "loading_nets:Around")
    check_same(loaded, model)
    assert "the prefix 'net.' of the model's names was put before" in said(loaded)
    check_same(load(saved(prefixed(model, "net.")), "loading_nets:Around"), model)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_wrappers_inside_the_names_are_taken_out(saved, wrap):
    """As of the ImageNet example of torch, which wraps the features of VGG and AlexNet alone."""
    model = trained(Split, wrap=wrap)
    loaded = load(saved(prefixed(model, "module.")), "loading_nets:split")
    bare = split()
    bare.fc.load_state_dict(model.fc.state_dict())
    bare.features.load_state_dict(next(model.features.children()).state_dict())
    check_same(loaded, bare)
    assert "the words of wrappers, such as 'module'" in said(loaded)
    check_same(load(saved(bare.state_dict()), "loading_nets:parallel_features"), bare)


@pytest.mark.parametrize(
    "path",
    [("state_dict",), ("model",), ("net",), ("model_state_dict",), ("ema",), ("a", "b", "c"), ("checkpoint", "model")],
)
def test_weights_in_dicts_are_found_and_said(saved, path):
    model = trained()
    tree = model.state_dict()
    for key in reversed(path):
        tree = {"epoch": 3, key: tree, "best": 0.7, "scheduler": {"rate": 0.1}, "names": ["a"]}
    loaded = load(saved(tree))
    check_same(loaded, model)
    assert loaded.notes == (f"the weights are those under {'.'.join(path)!r} in w.pt",)


def test_a_checkpoint_of_lightning_is_read_beside_its_hyper_parameters(saved):
    model = trained()
    optimizer = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    tree = {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": prefixed(model, "model.") | {"criterion.weight": torch.ones(5)},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {"width": 4},
    }
    loaded = load(saved(tree))
    check_same(loaded, model)
    assert "under 'state_dict'" in said(loaded)
    assert "the prefix 'model.'" in said(loaded)
    assert "1 other tensor of the file was left aside: criterion.weight" in said(loaded)


def test_weights_and_their_average_are_named_and_chosen(saved):
    plain, average = trained(), trained(seed=8)
    tree = {"state_dict_ema": average.state_dict(), "state_dict": prefixed(plain, "module.")}
    path = saved(tree)
    loaded = load(path)
    check_same(loaded, plain)
    assert (
        "w.pt holds several sets of weights that fit: state_dict.module was taken, because it is no average and comes "
        "first; --weights-key takes another: state_dict_ema"
    ) in said(loaded)
    chosen = load(path, weights_key="state_dict_ema")
    check_same(chosen, average)
    assert "under 'state_dict_ema'" in said(chosen)
    for key in ("state_dict", "state_dict.module", "state_dict.module."):
        check_same(load(path, weights_key=key), plain)
    text = refusal(path, weights_key="model_ema")
    assert text.endswith(
        "has no weights under 'model_ema', which --weights-key names. It has: state_dict_ema, state_dict.module."
    )


def test_two_networks_behind_prefixes_of_one_dict_are_chosen_too(saved):
    query, key = trained(), trained(seed=8)
    path = saved(prefixed(key, "module.encoder_k.") | prefixed(query, "module.encoder_q."))
    check_same(load(path), query)
    assert "module.encoder_q was taken, because it is no average" in said(load(path))
    check_same(load(path, weights_key="module.encoder_k"), key)


class Versioned(Net):
    """A network that loads only weights of its own version."""

    _version = 2

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version") != 2:
            raise ValueError("another version")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


@pytest.mark.parametrize("prefix", ["", "module.", "a.b."])
@pytest.mark.parametrize("write", [torch.save, save_file])
def test_modules_that_load_by_version_are_told_the_files_or_their_own(tmp_path, monkeypatch, prefix, write):
    """As MNASNet of torchvision, which refuses weights without a version."""
    monkeypatch.setattr(loading_nets, "Versioned", Versioned, raising=False)
    model = trained(Versioned)
    state = OrderedDict(prefixed(model, prefix))
    state._metadata = {prefix.rstrip("."): {"version": 2}}
    write(state, tmp_path / "w.pt")
    check_same(load(tmp_path / "w.pt", "loading_nets:Versioned"), model)


def test_a_file_of_another_version_is_read_as_its_module_reads_it(saved, monkeypatch):
    seen = []

    class Seeing(Net):
        _version = 2

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            seen.append(metadata.get("version"))
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    monkeypatch.setattr(loading_nets, "Seeing", Seeing, raising=False)
    monkeypatch.setattr(loading_nets, "AroundSeeing", lambda: nn.Sequential(Seeing()), raising=False)
    state = OrderedDict(prefixed(trained(), "module.net."))
    state._metadata = {"": {"version": 7}, "module": {"version": 6}, "module.net": {"version": 1}}
    path = saved({"model": state})
    load(path, "loading_nets:Seeing")
    load(path, "loading_nets:AroundSeeing")
    assert seen == [1, 1]


def test_the_old_names_of_densenet_are_known(saved):
    model = torchvision.models.DenseNet(4, (1, 1), 8).eval()
    old = {re.sub(r"(denselayer1\.(norm|conv))(\d)", r"\1.\3", key): value for key, value in model.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    taken = put_into(
        fresh := torchvision.models.DenseNet(4, (1, 1), 8).eval(),
        Weights(Path("w.pt"), FileContents(old), "", "torchvision:densenet121"),
    )
    assert taken.notes == ()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(fresh(x), model(x), rtol=0, atol=0)


def test_an_average_inside_the_dict_of_the_weights_is_another_set(saved):
    """Its names begin as the weights' do, with nothing, and are no parts of the network."""
    plain, average = trained(), trained(seed=8)
    path = saved({"net": prefixed(average, "ema.") | plain.state_dict()})
    check_same(load(path), plain)
    assert "net was taken, because it is no average" in said(load(path))
    check_same(load(path, weights_key="net.ema"), average)
    check_same(load(path, weights_key="net"), plain)


@pytest.mark.parametrize("name", ["semantic", "schema", "demand"])
def test_a_word_that_holds_ema_is_no_average(saved, name):
    path = saved({name: trained().state_dict(), "other": trained(seed=8).state_dict()})
    check_same(load(path), trained())


def test_a_key_that_does_not_fit_is_refused_by_its_own_misfit(saved):
    path = saved({"good": trained().state_dict(), "bad": trained(width=6).state_dict()})
    check_same(load(path), trained())
    assert "conv.weight is (6, 3, 3, 3) in the file and (4, 3, 3, 3) in the model" in refusal(path, weights_key="bad")
    assert "--weights-key x chooses among a file's weights" in refusal("", "loading_nets:seeded", weights_key="x")


MEAN, STD = [0.49, 0.48, 0.44], [0.2, 0.19, 0.21]


def robustness(model):
    """A checkpoint as the package robustness writes it: two copies of the network, and normalisers."""
    state = {}
    for home in ("module.", "module.attacker."):
        state[f"{home}normalizer.new_mean"] = torch.tensor(MEAN)[:, None, None]
        state[f"{home}normalizer.new_std"] = torch.tensor(STD)[:, None, None]
        state |= prefixed(model, f"{home}model.")
    return {"model": state, "optimizer": torch.optim.SGD(model.parameters(), 0.1).state_dict(), "epoch": 3}


def test_a_checkpoint_of_robustness_gives_its_network_and_tells_its_normaliser(saved):
    model = trained()
    loaded = load(saved(robustness(model)))
    check_same(loaded, model)
    words = said(loaded)
    assert "under 'model' in w.pt; the prefix 'module.model.' was taken off" in words
    assert (
        "12 other tensors of the file were left aside, of which 8 are a copy of the weights: "
        "module.normalizer.new_mean, module.normalizer.new_std and others"
    ) in words
    assert "several" not in words
    (warning,) = loading.doubted_normaliser(loaded, Preprocessing((8, 8)))
    assert (
        "mean 0.49, 0.48, 0.44 and std 0.2, 0.19, 0.21. The preprocessing of this workspace has mean 0, 0, 0" in warning
    )
    assert loading.doubted_normaliser(loaded, Preprocessing((8, 8), tuple(MEAN), tuple(STD))) == ()
    assert len(loading.doubted_normaliser(loaded, Preprocessing((8, 8), tuple(MEAN), tuple(STD), (0.0, 2.0)))) == 1


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (("normalize.mean", "normalize.std"), "model."),
        (("mu", "sigma"), ""),
        (("pixel_mean", "pixel_std"), "backbone."),
    ],
)
def test_normalisers_by_other_names_are_known(saved, names, prefix):
    model = trained()
    buffers = {names[0]: torch.tensor(MEAN).reshape(1, 3, 1, 1), names[1]: torch.tensor([0.5])}
    loaded = load(saved(buffers | prefixed(model, prefix)))
    check_same(loaded, model)
    assert f"2 other tensors of the file were left aside: {names[0]}, {names[1]}" in said(loaded)
    (warning,) = loading.doubted_normaliser(loaded, Preprocessing((8, 8)))
    assert "mean 0.49, 0.48, 0.44 and std 0.5." in warning


def test_bookkeeping_may_be_missing_or_more(saved):
    model = trained()
    state = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    check_same(load(saved(state)), model)
    counted = state | {
        "total_ops": torch.zeros(1),
        "conv.total_ops": torch.zeros(1),
        "conv.total_params": torch.zeros(1),
        "conv.num_batches_tracked": torch.tensor(3),
    }
    loaded = load(saved(counted))
    check_same(loaded, model)
    assert loaded.notes == ()


def test_the_count_of_batches_is_the_files_where_it_has_one(saved):
    model = trained()
    model.bn.num_batches_tracked.fill_(41)
    assert load(saved(prefixed(model, "module."))).model.bn.num_batches_tracked == 41


@pytest.mark.parametrize("name", ["conv.weight", "bn.bias", "bn.running_var", "fc.bias"])
def test_every_parameter_and_buffer_must_come_from_the_file(saved, name):
    state = trained().state_dict()
    size = tuple(state.pop(name).shape)
    shown = f"({', '.join(map(str, size))})"
    assert f"1 of the model's 8 tensors is not in the file, such as {name} {shown}." in refusal(saved(state))


def test_a_parameter_that_is_no_part_of_the_state_is_refused(saved):
    assert "do not reach 1 tensor of test_choosing_hiding:make, first 'hidden'" in refusal_of_hiding(saved)


def refusal_of_hiding(saved):
    class Hiding(Net):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Parameter(torch.zeros(2))

        def state_dict(self, *args, **kwargs):
            return {k: v for k, v in super().state_dict(*args, **kwargs).items() if k != "hidden"}

    home = ModuleType("test_choosing_hiding")
    vars(home)["make"] = Hiding
    sys.modules[home.__name__] = home
    try:
        return refusal(saved(trained().state_dict()), "test_choosing_hiding:make")
    finally:
        del sys.modules[home.__name__]


@pytest.mark.parametrize("wanted", ["loading_nets:on_meta", "loading_nets:plain"])
def test_a_model_without_numbers_gets_all_of_them(saved, wanted):
    model = trained()
    check_same(load(saved(model.state_dict()), wanted), model)


def test_shared_tensors_of_safetensors_are_put_at_both_places(tmp_path):
    model = trained(Tied)
    save_model(model, str(tmp_path / "w.safetensors"))
    loaded = load(tmp_path / "w.safetensors", "loading_nets:Tied")
    check_same(loaded, model)
    assert loaded.model.second.weight is loaded.model.first.weight


def test_a_file_with_two_tensors_for_one_of_the_model_is_refused(saved):
    state = trained(Tied).state_dict()
    state["second.weight"] = state["second.weight"] + 1
    assert "do not reach 1 tensor of loading_nets:Tied, first 'first.weight'" in refusal(
        saved(state), "loading_nets:Tied"
    )


def test_a_head_of_another_size_is_named(saved):
    text = refusal(saved({"state_dict": prefixed(trained(classes=3), "module.")}))
    assert text.endswith(
        "the file's last layer fc has 3 classes, the model's 5. Let the model have 3, for instance by --model-args, "
        "and give their names with --classes."
    )
    model = trained(classes=3)
    check_same(load(saved(model.state_dict()), model_args="classes=3"), model)


def with_head(model):
    state = model.state_dict()
    return {name.replace("fc.", "fc.1."): tensor for name, tensor in state.items()}


def renamed(model, name, *others):
    """The state of a model with other tensors in place of one."""
    state = dict(model.state_dict())
    value = state.pop(name)
    return state | {other: value.clone() for other in others}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            lambda: trained(width=6).state_dict(),
            "conv.weight is (6, 3, 3, 3) in the file and (4, 3, 3, 3) in the model; conv.bias is (6) in the file and "
            "(4) in the model; 5 more tensors of other sizes. The names are the same, so it is another size of this "
            "architecture.",
        ),
        (
            lambda: with_head(trained()),
            "2 of the model's 8 tensors are not in the file, such as fc.weight (5, 4); 2 of the file's are not in the "
            "model, such as fc.1.weight (5, 4). The layer fc is made of other parts in the file.",
        ),
        (
            lambda: trained().state_dict() | {"fc2.weight": torch.ones(5, 5)},
            "1 of the file's is not in the model, such as fc2.weight (5, 5). The file is of a model with more layers.",
        ),
        (
            lambda: {f"blocks.{i}.scales": torch.ones(3) for i in range(300)},
            "they share no name. The file's names begin with 'blocks.0.scales', the model's with 'conv.weight'.",
        ),
        (
            lambda: {"fc.scale": torch.ones(()), "fc.zero_point": torch.ones(()), "fc.bias": torch.ones(5)},
            "7 of the model's 8 tensors are not in the file, such as conv.weight (4, 3, 3, 3); 2 of the file's are not "
            "in the model, such as fc.scale (). The file seems to be quantised.",
        ),
        (
            lambda: trained().state_dict() | {"fc.lora_A.default.weight": torch.ones(2, 4)},
            "The file holds the additions of LoRA. Merge them into the weights, as merge_and_unload() of peft does",
        ),
        (
            lambda: renamed(trained(), "conv.weight", "conv.weight_orig", "conv.weight_mask"),
            "The file is of a pruned model. Call torch.nn.utils.prune.remove for each pruned module",
        ),
        (
            lambda: renamed(trained(), "conv.weight", "conv.weight_g", "conv.weight_v"),
            "The file is of a model whose weights are parametrised, as by a weight norm.",
        ),
        (
            lambda: renamed(trained(), "conv.weight", "conv.parametrizations.weight.original0"),
            "The file is of a model whose weights are parametrised, as by a weight norm.",
        ),
        (
            lambda: {"_flat_param": torch.ones(300)},
            "they are parts as FSDP splits a model. Save its whole state dict",
        ),
        (
            lambda: {k: v.to(torch.int8) for k, v in trained().state_dict().items()},
            "'conv.weight' holds torch.int8 in place of torch.float32. They were quantised: give the weights as real",
        ),
        (
            lambda: {
                k: torch.quantize_per_tensor(v.float(), 0.1, 0, torch.qint8) for k, v in trained().state_dict().items()
            },
            "holds torch.qint8 in place of torch.float32. They were quantised",
        ),
        (
            lambda: {k: v.to_sparse() for k, v in trained().state_dict().items()},
            "holds torch.float32 in the layout torch.sparse_coo. Give the weights as real numbers",
        ),
        (
            lambda: {k: v.to("meta") for k, v in trained().state_dict().items()},
            "'conv.weight' holds no numbers, only shapes. Give the weights",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_misfit_names_the_first_of_them_with_both_shapes_and_a_cause(saved, state, words):
    assert words in refusal(saved(state()))


def test_a_refusal_is_as_short_for_a_large_network(saved):
    state = torchvision.models.resnet50(num_classes=10).state_dict()
    assert "in the file and " in refusal(
        saved({"model": prefixed(torch.nn.Module(), ""), "net": state}), "torchvision:resnet18"
    )


def test_weights_are_put_in_as_float32_whatever_the_file_and_the_model_hold(saved):
    model = trained()
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    loaded = load(saved(half))
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in half.items()})
    check_same(loaded, model)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    check_same(load(saved(trained().state_dict()), "loading_nets:halved"), trained())


def test_one_of_several_files_of_weights_is_told(tmp_path):
    state = trained().state_dict()
    part = {name: state[name] for name in ("conv.weight", "conv.bias")}
    save_file(part, tmp_path / "model-00001-of-00003.safetensors")
    said = refusal(tmp_path / "model-00001-of-00003.safetensors")
    assert "is part 1 of 3 of a model's weights. Put all parts into one file" in said
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"conv.weight": "model-00001-of-00003"}}')
    said = refusal(tmp_path / "model.safetensors.index.json")
    assert "lists the parts of weights that lie in several files. Put all parts into one file" in said
