"""The chip of the running jobs: what it says and opens, by mouse and by keys; an extraction that was left gives way."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser.conftest import serve
from browser.walking import Walker
from filelock import FileLock
from selenium.webdriver.common.keys import Keys

from aevis_dash import jobs
from aevis_dash.workbench import Workbench, open_workbench

pytestmark = pytest.mark.browser

CHOOSE = "dash_clientside.set_props('chosen-example', {data: {example: arguments[0], at: Date.now()}})"
OPEN = "return document.querySelector('#jobs > details').open"


@dataclass(frozen=True)
class Busy:
    """A served workspace, the lock for which its jobs wait, and two examples whose datapaths are not stored."""

    walker: Walker
    bench: Workbench
    lock: FileLock
    new: tuple[str, str]

    def classes(self, name: str) -> str:
        """The classes of an example, as the list of jobs names them."""
        example = self.bench.workspace.example(name)
        seen = self.bench.judging.predict([example.source, example.adversarial])
        return " → ".join(self.bench.class_names[one.label] for one in seen)

    def has(self, name: str) -> bool:
        """Whether all datapaths of an example are stored but those of its null targets."""
        return open_workbench(self.bench.workspace.root).datapaths.triplet(name) is not None

    def choose(self, name: str) -> None:
        """Choose an example, as a click on its card does."""
        self.walker.driver.execute_script(CHOOSE, name)
        self.walker.until(lambda: f"example={name}" in self.walker.driver.current_url, f"{name} is chosen")

    def compare(self) -> None:
        """Let all pairs be compared, from their dialog."""
        self.walker.press("divergences-switch")
        self.walker.press("compare-pairs")
        self.walker.keys(Keys.ESCAPE)
        self.walker.until(
            lambda: not self.walker.driver.find_elements("css selector", ".modal"), "the dialog is closed"
        )

    def chip_says(self, pattern: str) -> str:
        """Wait until the chip's text fits a pattern; the text."""
        return self.walker.until(
            lambda: re.fullmatch(pattern, self.walker.text("jobs-chip")) and self.walker.text("jobs-chip"),
            f"the chip says {pattern!r}",
        )


@pytest.fixture
def busy(dash_br, served, tmp_path) -> Iterator[Busy]:
    copied = Path(shutil.copytree(served.workspace, tmp_path / "busy", ignore=shutil.ignore_patterns("job.lock")))
    bench = open_workbench(copied)
    bench.learning.features()  # else the page's own job for them would wait for the lock, too
    known = [each.example.id for each in bench.judging.judged_examples() if each.misclassified]
    first, second, *_ = [name for name in known if bench.datapaths.triplet(name) is None]
    with FileLock(copied / "cache" / "job.lock") as lock:
        running = serve(tmp_path, [str(copied)])
        try:
            walker = Walker(dash_br, next(running).url)
            walker.drawn("activations")
            yield Busy(walker, bench, lock, (first, second))
        finally:
            running.close()


def test_the_chip_says_what_runs_and_opens_the_list(busy):
    """By Enter and Escape, by a click elsewhere; a cancelled extraction goes on from the list and from the network."""
    walker, name = busy.walker, busy.new[0]
    words, example = busy.classes(name), busy.bench.workspace.example(name)
    assert walker.text("jobs") == "", "nothing is shown while no job runs"
    busy.choose(name)
    busy.chip_says(f"1 job · {words}")
    busy.lock.release()
    busy.chip_says(rf"1 job · {words} \d+(–\d+)? of \d+( · .* left)?")
    walker.driver.execute_script("document.getElementById('jobs-chip').focus()")
    walker.keys(Keys.ENTER)
    walker.until(lambda: walker.driver.execute_script(OPEN), "Enter opens the list")
    assert walker.text("extraction-subject") == words
    subject = walker.driver.find_element("id", "extraction-subject")
    assert subject.get_attribute("title") == f"{example.adversarial}, made from {example.source}"
    assert re.match(r"datapaths? \d+( to \d+)? of \d+: ", walker.text("extraction-text"))
    walker.keys(Keys.ESCAPE)
    walker.until(lambda: not walker.driver.execute_script(OPEN), "Escape closes it")
    assert walker.driver.switch_to.active_element.get_attribute("id") == "jobs-chip", "where the keys were"
    walker.keys(Keys.ENTER)
    walker.press("extraction-cancel")
    walker.says("river-note", "The extraction was cancelled. What was finished is kept.")
    walker.until(lambda: walker.text("jobs") == "", "no job, no chip")
    assert not walker.driver.execute_script(OPEN)
    busy.lock.acquire()
    busy.compare()
    walker.job_says("comparison", jobs.WAITS)
    assert "The extraction was cancelled. What was finished is kept." in walker.text("jobs")
    walker.press("extraction-go-on")
    walker.job_says("extraction", jobs.WAITS)
    assert "was cancelled" not in walker.text("jobs"), "it is under way again"
    busy.chip_says(rf"2 jobs · {words}")
    walker.driver.find_element("css selector", ".brand").click()
    walker.until(lambda: not walker.driver.execute_script(OPEN), "a click elsewhere closes the list")
    walker.job_says("comparison", "pauses, so that other jobs go first")
    walker.press("comparison-cancel")
    busy.lock.release()
    walker.until(lambda: busy.has(name), "the extraction has gone on")
    walker.until(lambda: walker.text("jobs") == "", "all is done")
    assert walker.complaints() == []


def test_an_extraction_that_was_left_gives_way_and_goes_on_by_itself(busy):
    """The page says so where it still lists it; the second extraction takes its place there, and it goes on all the
    same."""
    walker, (first, second) = busy.walker, busy.new
    busy.choose(first)
    walker.job_says("extraction", jobs.WAITS)
    busy.choose(busy.bench.workspace.settings.opens_on)
    busy.compare()
    walker.job_says("extraction", jobs.PAUSES)
    walker.job_says("comparison", jobs.WAITS)
    busy.chip_says(rf"2 jobs · {busy.classes(first)}")
    busy.choose(first)
    walker.job_says("extraction", jobs.WAITS)
    walker.job_says("comparison", jobs.PAUSES)
    walker.press("comparison-cancel")
    busy.choose(second)
    busy.chip_says(f"1 job · {busy.classes(second)}")
    walker.job_says("extraction", jobs.WAITS)
    busy.lock.release()
    walker.until(lambda: busy.has(second), "the second one is extracted")
    walker.until(lambda: busy.has(first), "then the first one goes on")
    assert walker.complaints() == []


def test_a_page_sees_the_jobs_of_others_and_cannot_cancel_them(busy):
    """In a second window. What it asks for itself says that it waits, and what for."""
    walker, (first, second) = busy.walker, busy.new
    driver = walker.driver
    busy.choose(first)
    walker.job_says("extraction", jobs.WAITS)
    address = driver.current_url.split("?")[0]
    with walker.second_window():
        driver.get(address)
        walker.drawn("activations")
        busy.chip_says("1 job of other pages")
        walker.press("jobs-chip")
        row = "\n".join((f"Extraction {busy.classes(first)}", "another page", jobs.WAITS))
        walker.until(lambda: row in walker.texts(".job.other"), "the list names the other page's job")
        assert driver.find_elements("css selector", ".job.other button") == []
        busy.choose(second)
        walker.job_says("extraction", "waits behind 1 other")
        busy.chip_says(f"1 job · {busy.classes(second)}")
    busy.lock.release()
    walker.until(lambda: busy.has(first), "the first page's job ends")
    walker.until(lambda: walker.text("jobs") == "", "all is done")
    assert walker.complaints() == []
