"""What does not fit into memory together is run in halves, and the values are those of one run."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from aevis_dash.config import AttackParameters, ExtractionParameters
from aevis_dash.core.attack import perturb
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.datapath import extract
from aevis_dash.core.features import activation_maps, maximum_activations
from aevis_dash.core.flipback import Bench, FlipQuestion
from aevis_dash.core.halving import by_halves, is_out_of_memory, too_small
from aevis_dash.core.intervention import Exchange
from aevis_dash.core.learned import peaks
from aevis_dash.domain import AevisError, Preprocessing

CLASSES = ("a", "b", "c")
CPU = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


class Narrow(nn.Module):
    """The identity for at most `room` images at once; more raise the error that `error` makes."""

    room = 1000
    error = staticmethod(lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))

    runs: ClassVar[list[int]] = []

    def forward(self, x):
        Narrow.runs.append(len(x))
        if len(x) > Narrow.room:
            raise Narrow.error()
        return x * 1


@pytest.fixture
def classifier(monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            Narrow(),
            nn.ReLU(),
            Narrow(),
            nn.MaxPool2d(4),
            nn.Flatten(),
            nn.Linear(96, 3),
        )
    monkeypatch.setattr(Narrow, "room", 1000)
    return Classifier(model.eval(), Preprocessing((16, 16), (0.0,) * 3, (1.0,) * 3), CLASSES, ("Narrow",))


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


ERRORS = pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError(CPU),
        lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        MemoryError,
    ],
)


def integrated(classifier, images):
    """The effects of exchanging each map of the first layer between two images, along the line between them."""
    return Exchange(classifier, images[:1], images[1:2], 0).integrate(lambda logits: logits[:, 1] - logits[:, 0])


WORK = {
    "predictions": lambda c, x: np.stack([found.probabilities for found in c.predict(x)]),
    "classes of pixels": lambda c, x: c.predict_pixels((x / 255).astype(np.float32)),
    "activations": lambda c, x: activation_maps(c, x, 0),
    "maxima": lambda c, x: maximum_activations(c, x, 7),
    "learned features": lambda c, x: torch.cat([part for each in peaks(c, x) for part in each], 1).numpy(),
    "attacks": lambda c, x: np.stack([each.image for each in perturb(c, x, AttackParameters(steps=3))]),
    "datapaths": lambda c, x: np.stack(
        [path.gates for path in extract(c, x, [], ExtractionParameters(method="elimination", batch=7))]
    ),
    "flip-backs": lambda c, x: Bench(c, FlipQuestion(x[:1], x[1:2], 0, 0, 1)).measure(np.eye(6, dtype=bool))[0],
    "flip-backs' orders": lambda c, x: integrated(c, x),
}


@ERRORS
def test_what_errors_say_that_memory_is_short(error):
    assert is_out_of_memory(error())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


@ERRORS
@pytest.mark.parametrize("work", WORK)
def test_halves_give_what_one_run_gives(classifier, images, monkeypatch, work, error):
    wanted = WORK[work](classifier, images)
    assert max(Narrow.runs) > 2
    monkeypatch.setattr(Narrow, "room", 2)
    monkeypatch.setattr(Narrow, "error", staticmethod(error))
    del Narrow.runs[:]
    found = WORK[work](classifier, images)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert min(Narrow.runs) <= 2 < max(Narrow.runs)


@pytest.mark.parametrize("work", [name for name in WORK if "flip" not in name])  # these prepare one image first
def test_one_image_that_does_not_fit_is_refused(classifier, images, monkeypatch, work):
    monkeypatch.setattr(Narrow, "room", 0)
    with pytest.raises(AevisError, match=r"The memory is too small for 1 image at once \(CUDA out of memory"):
        WORK[work](classifier, images)


class Bypassed(nn.Module):
    """A convolution that a second one bypasses, so that runs of the part behind it read values of their own image."""

    def __init__(self):
        super().__init__()
        self.first, self.beside, self.narrow = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3), Narrow()
        self.relu, self.head = nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head((self.narrow(self.relu(self.first(x))) * self.beside(x)).mean((2, 3)))


def test_halves_of_a_part_read_what_bypasses_it_of_their_own_images(images, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(
            Bypassed().eval(), Preprocessing((16, 16), (0.0,) * 3, (1.0,) * 3), CLASSES, ("Narrow",)
        )
    part, rows = classifier.network.part(0, None), torch.tensor([3, 1, 6, 0, 0, 5, 2])
    with torch.no_grad():
        state = part.prepare(classifier.inputs(images))
        every, chosen = part.run(state, state.start), part.run(state, state.start[rows], rows)
        monkeypatch.setattr(Narrow, "room", 2)
        torch.testing.assert_close(part.run(state, state.start), every)
        torch.testing.assert_close(part.run(state, state.start[rows], rows), chosen)
    torch.testing.assert_close(chosen, every[rows])


def test_other_errors_stay_as_they_are(classifier, images, monkeypatch):
    monkeypatch.setattr(Narrow, "room", 2)
    monkeypatch.setattr(Narrow, "error", staticmethod(lambda: RuntimeError("another reason")))
    with pytest.raises(RuntimeError, match="another reason"):
        classifier.predict(images)
    assert Narrow.runs[-1] == 7


def test_parts_keep_their_order_and_the_size_that_fits():
    asked = []

    def run(at):
        asked.append(len(range(11)[at]))
        if asked[-1] > 3:
            raise MemoryError
        return list(range(11)[at])

    assert [each for part in by_halves(run, 11) for each in part] == list(range(11))
    assert asked == [11, 6, 3, 3, 3, 2]
    assert by_halves(lambda at: list(range(0)[at]), 0) == [[]]


def test_the_refusal_names_the_limit_that_the_user_has_set(monkeypatch):
    monkeypatch.delenv("AEVIS_MAX_MEMORY", raising=False)
    assert "End what else uses it" in str(too_small(1, MemoryError("full")))
    monkeypatch.setenv("AEVIS_MAX_MEMORY", "6")
    assert str(too_small(1, MemoryError("full"))).endswith("(full). It may take 6 GiB: raise --max-memory.")
