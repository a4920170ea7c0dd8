"""Making models: of libraries with other heads, and of the user's own code in all its forms."""

import sys
from types import SimpleNamespace

import loading_nets
import pytest
import torch
import torchvision
from loading_nets import Net, seeded

from aevis_dash.core import loading
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AevisError, ModelSpec

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def load(source, weights="", **options):
    return loading.load_model(ModelSpec(source, str(weights), **options))


def refusal(source, weights="", **options):
    with pytest.raises(AevisError) as caught:
        load(source, weights, **options)
    return str(caught.value)


def check_same(loaded, model, x=X):
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(x), model.eval()(x), rtol=0, atol=0)


# The user's own code


@pytest.mark.parametrize(
    ("name", "width", "classes"),
    [
        ("Net", 4, 5),
        ("plain", 4, 5),
        ("partly", 6, 5),
        ("deeper", 6, 7),
        ("Makers.wide", 8, 5),
        ("net", 4, 5),
    ],
)
def test_classes_functions_partials_and_instances_make_models(name, width, classes):
    model = load(f"loading_nets:{name}").model
    assert (model.conv.out_channels, model.fc.out_features, model.training) == (width, classes, False)


@pytest.mark.parametrize(
    "text",
    ["classes=7 width=6", '{"classes": 7, "width": 6}', '\'{"classes": 7, "width": 6}\'', "'classes=7' \"width=6\""],
)
def test_arguments_are_given_as_words_or_as_json(text):
    model = load("loading_nets:plain", model_args=text).model
    assert (model.fc.out_features, model.conv.out_channels) == (7, 6)


def test_arguments_over_those_of_a_partial():
    assert load("loading_nets:partly", model_args="width=3").model.conv.out_channels == 3


@pytest.mark.parametrize(("text", "value"), [("False", False), ("false", False), ("True", True)])
def test_yes_and_no_are_no_texts(text, value):
    assert load("loading_nets:plain", model_args=f"bias={text}").model.fc.bias.requires_grad is value


def test_other_values_are_numbers_lists_none_and_texts():
    read = loading.parse_arguments("a=1e-3 b='[1, 2]' c=None d=relu e='two words' f=null g=(1,2) h='\"3\"' i=")
    assert read == {
        "a": 1e-3,
        "b": [1, 2],
        "c": None,
        "d": "relu",
        "e": "two words",
        "f": None,
        "g": (1, 2),
        "h": "3",
        "i": "",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("width", "'width' is no argument. Write each as NAME=VALUE, such as width=3, or all as JSON"),
        ("=3", "'=3' is no argument"),
        ("width=3 width=4", "names 'width' twice"),
        ("width='3", "cannot be read: No closing quotation"),
        ('{"width": 3', "is no JSON: "),
        ("{}[]", "is no JSON: "),
        (
            "depth=3",
            "loading_nets:plain cannot be called with depth (got an unexpected keyword argument 'depth'). It is "
            "plain(classes=5, width=4, bias=True); give its arguments with --model-args NAME=VALUE.",
        ),
        ("width=wide", "loading_nets:plain(width='wide') failed with TypeError: "),
    ],
)
def test_arguments_that_cannot_be_are_refused(text, words):
    assert words in refusal("loading_nets:plain", model_args=text)


def test_an_instance_is_copied_and_takes_no_arguments():
    loaded = load("loading_nets:net")
    check_same(loaded, seeded())
    loaded.model.fc.bias.data += 1
    check_same(load("loading_nets:net"), seeded())
    assert "loading_nets:net is a model already, so it takes no --model-args" in refusal(
        "loading_nets:net", model_args="width=3"
    )


def test_an_instance_with_weights_of_a_file_has_these(tmp_path):
    model = Net().eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    check_same(load("loading_nets:random_net", tmp_path / "w.pt"), model)


def test_what_a_spectral_norm_computes_of_the_state_is_no_random_weight():
    model = load("loading_nets:spectral").model
    with torch.no_grad():
        model(torch.rand(1, 3, 16, 16))
    loading.refuse_random(ModelSpec("loading_nets:spectral"), model)


def test_lazy_modules_whose_sizes_are_not_known_are_refused():
    assert "has lazy modules whose sizes are not known yet (first '0.weight')" in refusal("loading_nets:lazy")


def test_a_random_instance_is_refused_though_it_is_the_same_in_this_process():
    spec = ModelSpec("loading_nets:random_net")
    with pytest.raises(AevisError, match="loading_nets:random_net makes other weights at every call"):
        loading.refuse_random(spec, load("loading_nets:random_net").model)
    loading.refuse_random(ModelSpec("loading_nets:net"), load("loading_nets:net").model)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("parallel", ["DataParallel around the model"]),
        ("averaged", ["AveragedModel around the model"]),
        ("compiled", ["DataParallel around the model", "OptimizedModule around the model"]),
    ],
)
def test_wrappers_are_taken_off_and_said(tmp_path, name, said):
    loaded = load(f"loading_nets:{name}")
    check_same(loaded, seeded())
    assert loaded.notes == (f"taken off, as torch.fx cannot see through it: {', '.join(said)}",)
    assert len(trace_model(loaded.model, (8, 8)).sites) == 1
    other = Net()
    torch.save({"model": {f"module.{k}": v for k, v in other.state_dict().items()}}, tmp_path / "w.pt")
    check_same(load(f"loading_nets:{name}", tmp_path / "w.pt"), other)


def test_wrappers_inside_a_model_are_taken_off():
    loaded = load("loading_nets:parallel_features")
    assert loaded.notes == ("taken off, as torch.fx cannot see through it: DataParallel around features",)
    assert next(name for name, _ in loaded.model.named_parameters()) == "features.0.weight"
    assert len(trace_model(loaded.model, (8, 8)).sites) == 1


def test_a_model_that_is_compiled_in_place_runs_uncompiled(monkeypatch):
    def made():
        model = seeded()
        model.compile(backend=lambda *_: pytest.fail("it was compiled"))
        return model

    monkeypatch.setattr(loading_nets, "made", made, raising=False)
    loaded = load("loading_nets:made")
    check_same(loaded, seeded())
    assert "the compilation of Net" in loaded.notes[0]


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_refused():
    with pytest.raises(AevisError, match=r"is compiled TorchScript.*Hand over the module it was made from"):
        trace_model(load("loading_nets:scripted").model, (8, 8))


# A Python file


CODE = """
import torch
from parts_beside import WIDTH
class Own(torch.nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.fc = torch.nn.Linear(3, classes)
        torch.nn.init.constant_(self.fc.weight, WIDTH)
        torch.nn.init.zeros_(self.fc.bias)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))
def make(classes=5):
    return Own(classes)
net = Own()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "parts_beside", raising=False)
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "parts_beside.py").write_text("WIDTH = 2.0")
    (folder / "own_net.py").write_text(CODE)
    return folder / "own_net.py"


@pytest.mark.parametrize("name", ["make", "Own", "net"])
def test_a_python_file_makes_a_model_with_what_lies_beside_it(own, name):
    loaded = load(f"{own}:{name}")
    torch.testing.assert_close(loaded.model(X), 2 * X.mean((2, 3)).sum(1, keepdim=True).expand(2, 5))
    loading.refuse_random(ModelSpec(f"{own}:{name}"), loaded.model)


def test_a_python_file_may_be_named_from_where_one_stands_and_is_read_again_when_it_changes(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    assert load("own_net.py:make", model_args="classes=3").model.fc.out_features == 3
    own.write_text(CODE.replace("make(classes=5)", "make(classes=9)"))
    assert load("own_net.py:make").model.fc.out_features == 9


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "own_net.py of --model cannot be read (No such file or directory). Mend its path"),
        ("def make(:", "own_net.py of --model cannot be run (SyntaxError: "),
        ("raise SystemExit(3)", "own_net.py of --model cannot be run (SystemExit: 3)"),
        ("from .sibling import make", "a file of a package is named as a module, package.module:factory"),
        ("other = 1", "own_net.py' has no function 'make'"),
        ("make = 1", "own_net.py:make is a int, which makes no model"),
    ],
)
def test_a_python_file_that_cannot_be_is_refused(own, code, words):
    own.unlink()
    if code is not None:
        own.write_text(code)
    assert words in refusal(f"{own}:make")


# Libraries


IMAGE = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def fine_tuned():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return torchvision.models.shufflenet_v2_x0_5(num_classes=7).eval()


def test_the_head_of_a_library_model_is_as_large_as_the_files(tmp_path, fine_tuned):
    torch.save({"model": {f"module.{k}": v for k, v in fine_tuned.state_dict().items()}}, tmp_path / "w.pt")
    loaded = load("torchvision:shufflenet_v2_x0_5", tmp_path / "w.pt")
    check_same(loaded, fine_tuned, IMAGE)
    assert loaded.classes == 7
    assert loaded.notes[-1] == "the model was made for 7 classes, as the file's last layer has so many"
    asked = load("torchvision:shufflenet_v2_x0_5", tmp_path / "w.pt", model_args="num_classes=7")
    check_same(asked, fine_tuned, IMAGE)
    assert asked.classes == 7
    assert "the file's last layer fc has 7 classes, the model's 8." in refusal(
        "torchvision:shufflenet_v2_x0_5", tmp_path / "w.pt", model_args="num_classes=8"
    )


def test_a_library_model_of_its_own_number_is_as_it_was(tmp_path):
    model = torchvision.models.shufflenet_v2_x0_5().eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    loaded = load("torchvision:shufflenet_v2_x0_5", tmp_path / "w.pt")
    check_same(loaded, model, IMAGE)
    assert (loaded.classes, loaded.notes) == (None, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("width=3", "torchvision:shufflenet_v2_x0_5 cannot be made with width=3: "),
        ("weights=DEFAULT", "--model-args names 'weights'. Say which weights by --weights"),
    ],
)
def test_arguments_that_a_library_does_not_take_are_refused(tmp_path, fine_tuned, text, words):
    torch.save(fine_tuned.state_dict(), tmp_path / "w.pt")
    assert words in refusal("torchvision:shufflenet_v2_x0_5", tmp_path / "w.pt", model_args=text)


@pytest.mark.parametrize(("name", "aux"), [("googlenet", "aux1"), ("inception_v3", "AuxLogits")])
def test_further_heads_may_be_in_the_file_or_not(tmp_path, name, aux):
    x = torch.rand(1, 3, 80, 80)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = torchvision.models.get_model(name, init_weights=False, transform_input=True, num_classes=4).eval()
    state = model.state_dict()
    assert any(key.startswith(aux) for key in state)
    torch.save(state, tmp_path / "with.pt")
    loaded = load(f"torchvision:{name}", tmp_path / "with.pt")
    check_same(loaded, model, x)
    assert "other tensors of the file were left aside: " in "; ".join(loaded.notes)
    bare = {key: value for key, value in state.items() if not key.startswith(("aux", "Aux"))}
    torch.save(bare, tmp_path / "without.pt")
    check_same(load(f"torchvision:{name}", tmp_path / "without.pt"), model, x)
    last = f"{aux}.fc2.weight" if name == "googlenet" else f"{aux}.fc.weight"
    torch.save(state | {last: torch.ones(1000, state[last].shape[1])}, tmp_path / "other.pt")
    check_same(load(f"torchvision:{name}", tmp_path / "other.pt"), model, x)


def test_timm_is_asked_for_as_many_classes_as_the_file_has(tmp_path, monkeypatch):
    asked = []

    def create_model(name, pretrained=False, num_classes=5):
        asked.append((name, pretrained, num_classes))
        return Net(num_classes)

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    model = Net(classes=3)
    torch.save({"state_dict": model.state_dict(), "arch": "small"}, tmp_path / "w.pt")
    loaded = load("timm:small", tmp_path / "w.pt")
    check_same(loaded, model)
    assert asked == [("small", False, 5), ("small", False, 3)]
    assert loaded.classes == 3


def test_what_changes_answers_without_a_trace_is_part_of_what_a_model_is_made_with():
    assert loading.made_with(ModelSpec("m:f")) == ""
    one, same, other = (
        loading.made_with(ModelSpec("m:f", model_args=t)) for t in ("a=1 b=2", '{"b": 2, "a": 1}', "a=2")
    )
    assert one == same != other
