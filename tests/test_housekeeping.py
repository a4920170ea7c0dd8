"""What the store of a workspace holds, and what is removed from it: by right values, and without losing an answer."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from aevis_dash.cli import main
from aevis_dash.domain import AevisError, Role
from aevis_dash.files import part_prefix
from aevis_dash.housekeeping import CURRENT, NORMAL, WHOLE, holdings, sweep
from aevis_dash.store import Store, key_of
from aevis_dash.stored import about_of, entries
from aevis_dash.workbench import open_workbench
from aevis_dash.workbench.maps import Maxima

DAY = 86_400.0


@pytest.fixture
def bench(world):
    """The drawn world, whose results were all unused for three days."""
    found = open_workbench(world)
    _ = found.classifier
    age(world, 3)
    return found


def age(world, days):
    for entry in entries(world / "cache"):
        moment = time.time() - days * DAY
        os.utime(entry.path, (moment, moment))


def on_disk(world, kind="*"):
    return set((world / "cache").glob(f"{kind}/*.npz"))


def run(capsys, *argv):
    assert main([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_kind_that_the_docs_name_has_its_version_here():
    told = Path(__file__).parents[1].joinpath("docs", "architecture.md").read_text()
    table = told.split("### The versions of results", 1)[1].split("\n##", 1)[0]
    first = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([a-z]+)`", first)) - {"attack", "examples"}  # parts of ids and of other keys
    assert named == set(CURRENT)


def test_the_parts_of_a_store_add_up(bench, world):
    found = holdings(bench, bench.classifier.fingerprint)
    files = on_disk(world)
    assert found.whole.files == len(files)
    assert found.whole.size == sum(path.stat().st_size for path in files)
    assert {kind: share.files for kind, share in found.by_kind.items()} == {
        kind.name: len(on_disk(world, kind.name)) for kind in (world / "cache").iterdir() if on_disk(world, kind.name)
    }
    assert (found.outdated.files, found.unknown.files, found.leftovers.files) == (0, 0, 0)
    assert abs(time.time() - found.whole.oldest - 3 * DAY) < 600


def test_what_is_of_an_example_is_counted_as_its(bench, world):
    story = bench.workspace.settings.opens_on
    adversarial = bench.workspace.image_hash(bench.workspace.example(story).adversarial)
    mine = [path for path in on_disk(world) if adversarial in about_of(path).images]
    found = holdings(bench, None)
    assert mine
    assert found.by_example[story].files == len(mine)
    assert found.by_example[story].size == sum(path.stat().st_size for path in mine)
    assert {NORMAL, WHOLE} <= set(found.by_example)
    assert found.outdated is None


def test_results_of_other_models_and_earlier_versions_go_and_answers_stay(bench, world):
    fingerprint = bench.classifier.fingerprint
    image = bench.workspace.image_hash(bench.workspace.images[0].file)
    kept = on_disk(world)
    outdated = [
        key_of("maxima", CURRENT["maxima"], model="another", image=image),
        key_of("maxima", CURRENT["maxima"] - 1, model=fingerprint, image=image),
    ]
    unknown = key_of("novelty", 1, model=fingerprint, image=image)
    for key in (*outdated, unknown):
        bench.store.put(key, Maxima(np.arange(3.0)))
    age(world, 3)
    assert holdings(bench, fingerprint).outdated.files == 2
    told = sweep(bench, fingerprint, dry=True)
    assert told.outdated[0] == 2
    assert len(on_disk(world)) == len(kept) + 3, "a dry run removes nothing"
    assert sweep(bench, fingerprint) == told
    assert on_disk(world) == kept | {world / "cache" / "novelty" / f"{unknown}.npz"}


def test_where_the_model_is_not_known_its_results_stay(bench, world):
    bench.store.put(key_of("maxima", CURRENT["maxima"], model="another"), Maxima(np.arange(3.0)))
    age(world, 3)
    assert sweep(bench, None).outdated == (0, 0)


def test_results_unused_for_long_go(bench, world):
    story = bench.workspace.settings.opens_on
    expected = bench.datapaths.extract(story).path(Role.ADVERSARIAL).gates.copy()
    young = {entry.path for entry in entries(world / "cache") if time.time() - entry.used < DAY}
    old = on_disk(world) - young
    assert young
    assert old
    assert sweep(bench, bench.classifier.fingerprint, older=2 * DAY).old[0] == len(old)
    assert on_disk(world) == young
    shutil.rmtree(world / "cache")
    again = open_workbench(world).datapaths.extract(story).path(Role.ADVERSARIAL).gates
    np.testing.assert_array_equal(again, expected)


def test_a_store_is_swept_to_a_size_the_longest_unused_first(bench, world):
    for i, entry in enumerate(entries(world / "cache")):
        moment = time.time() - 3 * DAY + i
        os.utime(entry.path, (moment, moment))
    found = entries(world / "cache")
    most = sum(entry.size for entry in found) // 2
    told = sweep(bench, bench.classifier.fingerprint, most=most)
    left = entries(world / "cache")
    assert sum(entry.size for entry in left) <= most
    assert left == found[-len(left) :]
    assert told.left == (len(left), sum(entry.size for entry in left))


def test_what_was_used_just_now_is_never_swept(world):
    bench = open_workbench(world)
    bench.store.put(key_of("maxima", 0, model="another"), Maxima(np.arange(3.0)))
    age(world, 0)  # the world was made when the tests began, which may be long ago
    before = on_disk(world)
    told = sweep(bench, bench.classifier.fingerprint, older=0.0, most=2**20)
    assert (told.outdated, told.old, told.unused) == ((0, 0), (0, 0), (0, 0))
    assert on_disk(world) == before


def test_leftovers_go_and_what_is_being_written_stays(bench, world):
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    folder = world / "cache" / "judgement"
    names = {
        "left": f"{part_prefix()}{gone}-abc",
        "written": f"{part_prefix()}{os.getpid()}-abc",
        "elsewhere": ".part-0123456789ab-17-abc",
        "elsewhere, old": ".part-0123456789ab-18-abc",
    }
    for name in names.values():
        (folder / name).write_text("x" * 10)
    os.utime(folder / names["elsewhere, old"], (time.time() - 8 * DAY,) * 2)
    assert holdings(bench, None).leftovers.files == 2
    assert sweep(bench, None).leftovers == (2, 20)
    left = {path.name for path in folder.glob(".part-*")}
    assert left == {names["written"], names["elsewhere"]}


def test_the_verbs_tell_and_remove_the_same(bench, world, capsys):
    told = run(capsys, "store", world)
    assert told["results"]["files"] == sum(kind["files"] for kind in told["kinds"]) == len(on_disk(world))
    assert told["results"]["bytes"] == sum(kind["bytes"] for kind in told["kinds"])
    assert told["quota_bytes"] is None
    assert told["kinds"] == sorted(told["kinds"], key=lambda kind: -kind["bytes"])
    age(world, 3)
    dry = run(capsys, "sweep", world, "--older-than", "2d", "--dry-run")
    wet = run(capsys, "sweep", world, "--older-than", "2d")
    assert (dry.pop("dry_run"), wet.pop("dry_run")) == (True, False)
    assert dry == wet
    assert wet["old"]["files"] > 0
    assert run(capsys, "store", world)["results"]["files"] == wet["left"]["files"]


def test_the_text_for_people(bench, world, capsys):
    (world / "cache" / "judgement" / ".part-0123456789ab-18-abc").write_text("x")
    os.utime(world / "cache" / "judgement" / ".part-0123456789ab-18-abc", (1, 1))
    assert main(["store", str(world)]) == 0
    said = capsys.readouterr().out
    assert f"{len(on_disk(world))} results take" in said
    assert "1 unfinished files were left by killed processes" in said
    assert f"aevis sweep {world} removes them" in said
    assert main(["sweep", str(world), "--to", "1M"]) == 0
    assert "results that stay" in capsys.readouterr().out


def test_a_store_can_be_swept_where_the_model_cannot_be_loaded(bench, world, capsys):
    settings = (world / "workspace.toml").read_text()
    (world / "workspace.toml").write_text(settings.replace("drawn_world_resnet", "no_such_net"))
    told = run(capsys, "sweep", world, "--older-than", "2d")
    assert told["old"]["files"] > 0
    assert told["warnings"][0].startswith("Results of other models are not told apart, as the model cannot be loaded:")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--to", "10"], "'10' is no size; give 1M or more, such as 512M or 20G"),
        (["--to", "10K"], "is no size"),
        (["--older-than", "30"], "'30' is no time; give hours, days or weeks, such as 12h, 30d or 8w"),
    ],
)
def test_what_does_not_fit_is_refused(world, capsys, argv, words):
    with pytest.raises(SystemExit) as end:
        main(["sweep", str(world), *argv])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "most"), [("20G", 20 * 2**30), ("512M", 2**29), ("1.5GiB", 3 * 2**29), ("none", None)]
)
def test_the_settings_may_set_a_quota(world, said, most):
    text = (world / "workspace.toml").read_text()
    text = text.split("[store]")[0] + f'[store]\nquota = "{said}"\n'
    (world / "workspace.toml").write_text(text)
    assert open_workbench(world).store.quota == most


def test_a_quota_that_is_no_size_is_refused(world):
    text = (world / "workspace.toml").read_text().split("[store]")[0]
    (world / "workspace.toml").write_text(f'{text}[store]\nquota = "much"\n')
    with pytest.raises(AevisError, match=r"there is no quota 'much'\. Choose one of: none, or a size of 1M or more"):
        open_workbench(world)


def test_stores_without_a_quota_take_no_lock(tmp_path):
    Store(tmp_path).put(key_of("thing", 1), Maxima(np.arange(3.0)))
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
