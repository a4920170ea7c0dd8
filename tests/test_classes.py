"""Which texts name a class: names, indices, synsets; what names two is refused."""

import json

import pytest

from aevis_dash.classes import Classes, imagenet, is_imagenet, read_class_names
from aevis_dash.domain import AevisError

SYNSETS, PUBLISHED = imagenet()
PETS = Classes(["cat", "dog", "grey fox", "Cardigan", "cardigan", "crane", "crane", "tench, Tinca tinca"])
PANDA = 388


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("cat", 0),
        (" dog ", 1),
        ("Dog", 1),
        ("grey_fox", 2),
        ("Grey-Fox", 2),
        ("Cardigan", 3),
        ("cardigan", 4),
        ("tench", 7),
        ("tinca_tinca", 7),
        ("tench, tinca tinca", 7),
        ("6", 6),
        ("006", 6),
        ("0.0", 0),
        ("2.", 2),
        ("", None),
        (" ", None),
    ],
)
def test_what_can_be_read_is_read(text, index):
    assert PETS.label(text, "here") == index


@pytest.mark.parametrize(
    "text", ["cow", "8", "8.0", "-1", "0.5", "1e0", "²", "١", "n02510455", "9" * 5000, "ca", "nan"]
)
def test_what_names_no_class_is_refused(text):
    with pytest.raises(AevisError, match=r"^here: the label .* is neither a class name nor an index from 0 to 7"):
        PETS.label(text, "here")


def test_a_number_one_beyond_the_last_class_may_be_of_a_table_that_counts_from_1():
    with pytest.raises(AevisError, match=r"If the table counts from 1, say --count-from 1\.$"):
        PETS.label("8", "here")
    for other in ("9", "-1"):
        with pytest.raises(AevisError) as refused:
            PETS.label(other, "here")
        assert "--count-from" not in str(refused.value)


@pytest.mark.parametrize(("text", "words"), [("crane", "2 classes, 5, 6"), ("CARDIGAN", "2 classes, 3, 4")])
def test_what_names_two_classes_is_refused(text, words):
    with pytest.raises(AevisError, match=f"here: the label '{text}' is the name of {words}. Name them by their"):
        PETS.label(text, "here")


def test_a_name_that_is_another_classs_index_is_refused_where_people_write_it():
    """But not in the tables that are written here, which hold indices."""
    numbered = Classes(["1", "2", "10"])
    with pytest.raises(AevisError, match="'1' is the name of class 0, and the index of the class '2'"):
        numbered.label("1", "here")
    assert numbered.label("10", "here") == 2
    assert [numbered.index_in_table(text, "here") for text in ("0", "1", "2", "10", "")] == [0, 1, 2, 2, None]
    assert [Classes("0123").label(text, "here") for text in "0123"] == [0, 1, 2, 3]


def keras(names):
    """As in imagenet_class_index.json, which knows two cranes and two maillots."""
    return [{"crane bird": "crane", "maillot tank suit": "maillot"}.get(n, n).replace(" ", "_") for n in names]


@pytest.mark.parametrize(
    "names",
    [
        PUBLISHED,
        keras(PUBLISHED),
        SYNSETS,
        [f"{synset} {name}" for synset, name in zip(SYNSETS, PUBLISHED, strict=True)],
        [f"{name}, and something else" for name in PUBLISHED],
        [name if i % 3 else f"class {i}" for i, name in enumerate(PUBLISHED)],
    ],
)
def test_imagenet_is_known_by_its_common_names(names):
    classes = Classes(names)
    assert classes.imagenet
    assert {classes.label(text, "here") for text in ("n02510455", "giant panda", "Giant_Panda", "388")} == {PANDA}
    assert [classes.label(synset, "") for synset in SYNSETS] == list(range(1000))


@pytest.mark.parametrize(
    "names",
    [
        sorted(PUBLISHED),
        PUBLISHED[::-1],
        (PUBLISHED[-1], *PUBLISHED[:-1]),
        (*PUBLISHED[500:520], *PUBLISHED[20:500], *PUBLISHED[:20], *PUBLISHED[520:]),
        PUBLISHED[:999],
        ("background", *PUBLISHED),
        [f"class {i}" for i in range(1000)],
        [str(i) for i in range(1000)],
    ],
)
def test_other_classes_and_other_orders_are_not_imagenet(names):
    assert not is_imagenet(names)
    with pytest.raises(AevisError, match="It looks like a synset, which can be read where"):
        Classes(names).label("n02510455", "here")


def test_a_name_that_is_twice_in_imagenet_is_refused_and_its_synset_is_not():
    classes = Classes(keras(PUBLISHED))
    with pytest.raises(AevisError, match=r"2 classes, 134, 517\. Name them by their indices or synsets"):
        classes.label("crane", "here")
    assert classes.label(SYNSETS[134], "here") == 134


def test_the_synsets_are_those_of_ilsvrc_2012():
    """In ascending order, and together with torchvision's names, one line of each of which was looked up."""
    assert list(SYNSETS) == sorted(set(SYNSETS))
    known = {0: ("n01440764", "tench"), 388: ("n02510455", "giant panda"), 471: ("n02950826", "cannon")}
    known |= {609: ("n03594945", "jeep"), 999: ("n15075141", "toilet tissue")}
    assert {i: (SYNSETS[i], PUBLISHED[i]) for i in known} == known
    from torchvision.models import ResNet18_Weights

    assert is_imagenet(ResNet18_Weights.DEFAULT.meta["categories"])


INDEX = {str(i): list(pair) for i, pair in enumerate(zip(SYNSETS, keras(PUBLISHED), strict=True))}


@pytest.mark.parametrize(
    ("document", "names"),
    [
        (["cat", "dog"], ("cat", "dog")),
        ({"0": "cat", "1": "dog"}, ("cat", "dog")),
        ({"1": "dog", "0": "cat"}, ("cat", "dog")),
        ({"dog": 1, "cat": 0}, ("cat", "dog")),
        ({"tench": 0, "Tinca tinca": 0, "dog": 1}, ("tench, Tinca tinca", "dog")),
        ({"0": ["n02123045", "tabby"], "1": ["n02084071", "dog"]}, ("n02123045 tabby", "n02084071 dog")),
        (INDEX, tuple(keras(PUBLISHED))),
    ],
)
def test_class_names_are_read_from_json(tmp_path, document, names):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(document))
    assert read_class_names(path) == names


def test_pairs_of_other_classes_keep_their_synsets(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"0": ["n02123045", "tabby"], "1": ["n02084071", "dog"]}))
    classes = Classes(read_class_names(path))
    assert [classes.label(text, "") for text in ("n02084071", "dog", "tabby")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("3", "must be a list of names"),
        ('{"cat": 1, "dog": 2}', "each index from 0"),
        ('{"0": "cat", "2": "dog"}', "each index from 0"),
        ('{"0": 1.5}', "must be a list"),
        ('{"a": "cat"}', "must be a list"),
        ("[]", "holds no class name"),
        ('["cat", ""]', "class 1 has no name"),
        ('["cat", "d\\u001b[1mog"]', "the name of class 1 holds a control character"),
        ('["cat", "\\ud800"]', "the name of class 1 holds a control character"),
        ("[" * 100_000, "cannot be read"),
        ('{"cat": ' + "9" * 5000 + "}", "cannot be read"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path, text, words):
    path = tmp_path / "classes.json"
    path.write_text(text)
    with pytest.raises(AevisError, match=words):
        read_class_names(path)


def test_a_text_of_names_is_read_line_by_line(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("crane\r\ncrane\r\nn01440764\tte\x0bnch\r\n\r\n".encode("utf-16"))
    with pytest.raises(AevisError, match="class 2 holds a control character"):
        read_class_names(path)
    path.write_bytes("crane\r\ncrane\r\nn01440764\ttench\u00a0x\r\n\r\n".encode("utf-16"))
    assert read_class_names(path) == ("crane", "crane", "n01440764 tench\u00a0x")
