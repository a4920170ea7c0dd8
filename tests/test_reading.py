"""Files that change, are replaced, or are no files: nothing hangs, and nothing is kept under another file's digest."""

import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from aevis_dash import divergences, reading
from aevis_dash import workspace as workspaces
from aevis_dash.classes import read_class_names
from aevis_dash.domain import AevisError, Intervention, Preprocessing
from aevis_dash.images import png_bytes, read_image, read_mask, write_image
from aevis_dash.labels import ImageEntry
from aevis_dash.reading import Digests, read_bytes
from aevis_dash.sight import once_in_a_sight, one_sight
from aevis_dash.tables import read_table
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace

INPUT = Preprocessing((16, 16))


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def settled(monkeypatch):
    """Every file counts as settled at once, so that only its state says whether it changed."""
    monkeypatch.setattr(reading, "SETTLED", -1e9)


# Knowing a file again


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_another_content_of_the_same_size_and_time_has_another_digest(tmp_path, settled, how):
    path, digests = tmp_path / "a", Digests()
    path.write_bytes(b"before")
    before, times = digests.of(path), path.stat()
    time.sleep(0.05)
    new = path if how == "in place" else tmp_path / "b"
    new.write_bytes(b"after!")
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(new, path)
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (times.st_mtime_ns, times.st_size)
    assert digests.of(path) != before


def test_a_file_that_was_just_written_is_read_again_each_time(tmp_path, monkeypatch):
    """Within one step of the file system's clock its times tell nothing."""
    path, digests = tmp_path / "a", Digests()
    path.write_bytes(b"before")
    same = os.stat(path)
    monkeypatch.setattr(reading, "state_of", lambda found: (same.st_ino, same.st_size, same.st_mtime_ns))
    before = digests.of(path)
    path.write_bytes(b"after!")
    assert digests.of(path) != before


def test_a_settled_file_is_read_once(tmp_path, settled, monkeypatch):
    path, digests = tmp_path / "a", Digests()
    path.write_bytes(b"content")
    first = digests.of(path)
    monkeypatch.setattr(Digests, "read", lambda *_: pytest.fail("read again"))
    assert digests.of(path) == first


def test_tables_replaced_by_others_of_the_same_size_and_time_are_read_again(world, settled, monkeypatch):
    workspace = Workspace(world)
    for name, read in (("images.csv", lambda: workspace.images), ("examples.csv", workspace.examples)):
        table, before = world / name, read()
        with monkeypatch.context() as patch:
            patch.setattr(workspaces, "read_table", lambda *_: pytest.fail("read again"))
            assert read() == before
        text, times = table.read_text(), table.stat()
        rows = text.splitlines()
        table.write_text("\n".join([rows[0], *reversed(rows[1:])]) + "\n")
        os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert (table.stat().st_mtime_ns, table.stat().st_size) == (times.st_mtime_ns, times.st_size)
        assert read() == tuple(reversed(before))


# What is no file


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


def loop(path):
    path.symlink_to(path)


@pytest.mark.timeout(20, func_only=True)
@pytest.mark.parametrize("make", [pipe, device, folder, loop])
def test_what_is_no_file_is_refused_at_once(tmp_path, world, make):
    make(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"pipe, a device|Is a directory|Too many levels"):
        read_bytes(tmp_path / "a.png")
    with pytest.raises(AevisError, match=r"The image .*a\.png cannot be read \("):
        read_image(tmp_path / "a.png", INPUT)
    write_image(tmp_path / "b.png", picture())
    with pytest.raises(AevisError, match=r"The mask .*a\.png cannot be read \("):
        read_mask(tmp_path / "a.png", tmp_path / "b.png", INPUT)
    for read in (lambda path: read_table(path, ()), read_class_names):
        with pytest.raises(AevisError, match=r"a\.png cannot be read \("):
            read(tmp_path / "a.png")
    workspace = Workspace(world)
    name = workspace.images[0].file
    (world / "images" / name).unlink()
    make(world / "images" / name)
    for ask in (workspace.image_hash, lambda n: workspace.read([n])):
        with pytest.raises(AevisError, match=f"The image .*{name} cannot be read"):
            ask(name)


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "x" * 300 + ".png"])
def test_names_that_no_file_can_have_are_refused(world, name):
    workspace = Workspace(world)
    for ask in (workspace.image_hash, lambda n: workspace.read([n]), lambda n: workspace.at_input_size([n])):
        with pytest.raises(AevisError, match="cannot be read"):
            ask(name)
    assert not workspace.has_parts(name)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BYTES", 3 * 1024**2)
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(3 * 1024**2 + 1)
    with pytest.raises(OSError, match="it has more than 3072 KiB"):
        Digests().of(tmp_path / "a.png")


def test_an_enormous_mask_is_refused_before_it_is_decoded(world):
    Image.new("1", (20_000, 20_000)).save(world / "parts" / "big.png")
    write_image(world / "images" / "big.png", picture())
    with pytest.raises(AevisError, match="million pixels that are read"):
        Workspace(world).part_numbers("big.png")


def test_a_settings_file_without_end_is_refused(world):
    (world / "workspace.toml").write_text("a" + ".a" * 100_000 + " = 1\n")
    with pytest.raises(AevisError, match=r"workspace\.toml cannot be read: .*more than 64 KiB"):
        Workspace(world)


# Images that change while they are worked with


def first(bench):
    return next(e for e in bench.judging.judged_examples() if e.misclassified).example


USES = {
    "judge": lambda bench, e: bench.judging.judge([e.adversarial]),
    "maxima": lambda bench, e: bench.maps.maxima(e.adversarial),
    "maps": lambda bench, e: bench.maps.activation_maps(e.adversarial, 3),
    "extract": lambda bench, e: bench.datapaths.extract(e.id),
    "extract set": lambda bench, e: bench.datapaths.extract_set([e.adversarial]),
    "verify": lambda bench, e: bench.flips.verify(e.id, Intervention(3, (0, 1), "source", 5)),
    "diverge": lambda bench, e: divergences.diverge(bench, divergences.Pair(e.id)),
}


@pytest.mark.parametrize("use", USES)
def test_what_is_computed_from_an_image_that_changes_meanwhile_is_not_kept(world, monkeypatch, use):
    """The image is replaced between the moment its digest is asked for and the moment its pixels are read."""
    example = first(open_workbench(world))
    for kind in (world / "cache").iterdir():
        if kind.name not in ("references", "digests") and (kind.name != "judgement" or use == "judge"):
            shutil.rmtree(kind)
    bench = open_workbench(world)
    _ = bench.classifier
    before = set((world / "cache").rglob("*.npz"))
    read = Workspace.read

    def late(self, names):
        write_image(world / example.adversarial, picture(1))
        return read(self, names)

    monkeypatch.setattr(Workspace, "read", late)
    with pytest.raises(AevisError, match=r"adversarial/.* was changed while it was worked with"):
        USES[use](bench, example)
    assert set((world / "cache").rglob("*.npz")) == before
    monkeypatch.setattr(Workspace, "read", read)
    assert bench.workspace.image_hash(example.adversarial) == Digests().of(world / example.adversarial)


def test_learned_features_of_images_or_masks_that_change_meanwhile_are_not_kept(world, monkeypatch):
    bench = open_workbench(world)
    name = bench.workspace.images[0].file
    read, numbers = Workspace.read, Workspace.part_numbers

    def late(self, names):
        write_image(world / "images" / name, picture(1))
        return read(self, names)

    monkeypatch.setattr(Workspace, "read", late)
    with pytest.raises(AevisError, match=f"{name} was changed while"):
        bench.learning.learn()
    assert bench.learning.index() is None
    monkeypatch.setattr(Workspace, "read", read)

    def later(self, asked):
        found = numbers(self, asked)
        Image.new("L", (64, 64)).save(world / "parts" / asked)
        return found

    monkeypatch.setattr(Workspace, "part_numbers", later)
    with pytest.raises(AevisError, match="masks of parts were changed"):
        bench.learning.learn()
    assert bench.learning.part_names() is None


def test_an_attack_on_an_image_that_changes_meanwhile_is_not_kept(world, monkeypatch):
    bench = open_workbench(world)
    entry, read = bench.workspace.images[0], Workspace.read
    table = (world / "examples.csv").read_bytes()

    def late(self, names):
        write_image(world / "images" / entry.file, picture(1))
        return read(self, names)

    monkeypatch.setattr(Workspace, "read", late)
    with pytest.raises(AevisError, match=f"{entry.file} was changed while"):
        bench.attacks.attack([ImageEntry(entry.file, entry.label)], target=(entry.label + 1) % 10)
    assert (world / "examples.csv").read_bytes() == table


def test_one_sight_ends_and_what_was_written_within_it_is_seen(world):
    workspace = Workspace(world)
    example = workspace.examples()[0]
    with one_sight():
        before = workspace.image_hash(example.adversarial)
        with one_sight():
            workspace.keep_adversarials([(example, picture(2))])
        after = workspace.image_hash(example.adversarial)
        assert after != before
        np.testing.assert_array_equal(workspace.read([example.adversarial]), [picture(2)])
    write_image(world / example.adversarial, picture(3))
    assert workspace.image_hash(example.adversarial) not in (before, after)
    np.testing.assert_array_equal(workspace.read([example.adversarial]), [picture(3)])


def test_the_digest_is_of_the_bytes_that_are_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(picture()))
    data, digest = Digests().read(tmp_path / "a.png")
    assert data == png_bytes(picture())
    assert digest == Digests().of(tmp_path / "a.png")


def test_within_a_sight_something_is_found_once_where_it_stays_as_it_is():
    asked = []

    def find(value):
        return once_in_a_sight("it", lambda: asked.append(value) or value, lambda found: found is not None)

    assert [find(1), find(2)] == [1, 2], "every time outside of a sight"
    with one_sight():
        assert [find(None), find(3), find(4)] == [None, 3, 3], "what is not settled is looked for again"
    assert find(5) == 5
    assert asked == [1, 2, None, 3, 5]
