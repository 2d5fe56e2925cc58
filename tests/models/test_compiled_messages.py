"""What atoms say and hear in further rounds, in C++: against torch and differences of its own."""

import pytest
import torch

from lrcalc import Evaluator, from_ase, predict
from lrcalc.models.backbone import Heard
from lrcalc.models.native import cpu
from lrcalc.models.native.fast import fast_functions
from lrcalc.models.native.messages import MessageRound
from lrcalc.models.native.products import Round, sort_by_species
from lrcalc.neighbors import build_pairs, pair_vectors
from tests.conftest import random_potential
from tests.models.compiler import needs_compiler
from tests.sample_structures import water_box

pytestmark = needs_compiler


SIZES = {"channels": 6, "hidden": 10, "n_basis": 4, "layers": 2}


class Talk:
    """A round of messages of random weights and a random past, as a function of tensors."""

    def __init__(self, dtype=torch.float64, n=2):
        potential = random_potential(water_box(n=n), dtype=dtype, **SIZES)
        self.backbone, (self.part,) = potential.backbone, potential.backbone.messages
        assert isinstance(self.part, MessageRound)
        make = torch.Generator().manual_seed(3)
        for name, weights in self.part.named_parameters():
            if not name.startswith(("product", "layer")):
                weights.copy_(torch.randn(weights.shape, generator=make) / weights.shape[-2] ** 0.5)
        self.part.message_scale.copy_(1 + torch.rand(self.part.message_scale.shape, generator=make))
        self.system = from_ase(water_box(n=n))._replace(once=True, compiled=True)
        self.pairs = build_pairs(self.system, potential.cutoff + 0.5)
        vectors = pair_vectors(self.system, self.pairs).to(dtype)
        known = self.backbone.species_of_number[self.system.numbers]
        self.atoms = sort_by_species(known, 2)
        self.fast = fast_functions(self.backbone, 2, self.system, vectors)
        assert isinstance(self.fast, cpu.Compiled)
        n = len(known)  # atoms
        shapes = ((n, 10), (16, n, 6), (16, n, 6))
        self.leaves = [vectors] + [torch.randn(s, dtype=dtype, generator=make) for s in shapes]
        self.leaves = [x.requires_grad_() for x in self.leaves]
        self.way = torch.randn(16, n, 6, dtype=dtype, generator=make)

    def compiled(self, vectors, *past):
        """What is passed, times something."""
        passed = self.fast.messages(
            self.part, self.atoms, self.pairs, vectors, self.backbone.cutoff, Round(*past)
        )
        return passed, (passed.heard * self.way).sum()

    def torch(self, vectors, *past):
        """The same by `MessageRound`; messages weigh √½."""
        edges = self.backbone._edges(self.atoms, self.pairs, vectors)
        said = self.part._sent(self.atoms, Round(*past))
        heard = Heard(said, edges.neighbour, said.index_select(0, edges.neighbour))
        messages = self.part._messages(self.atoms, edges, heard.heard)
        return heard, 0.5**0.5 * (messages * self.way).sum()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_messages_and_all_their_gradients(dtype):
    talk = Talk(dtype)
    (one, found), (other, expected) = talk.compiled(*talk.leaves), talk.torch(*talk.leaves)
    limit = 1e-12 if dtype == torch.float64 else 2e-6
    assert (talk.leaves[0].detach().norm(dim=1) > talk.backbone.cutoff).any()
    slopes = [torch.autograd.grad(x, talk.leaves, retain_graph=True) for x in (found, expected)]
    rows = [(one.said, other.said), (found, expected), *zip(*slopes, strict=True)]
    for a, b in rows:
        assert float(b.detach().abs().max()) > 0.1
        assert float((a - b).detach().abs().max()) <= limit * float(b.detach().abs().max())


def test_gradients_are_differences():
    """Along a random way of vectors and past together, and of each alone."""
    talk = Talk()
    _, value = talk.compiled(*talk.leaves)
    slopes = torch.autograd.grad(value, talk.leaves)
    make = torch.Generator().manual_seed(4)
    ways = [torch.randn(x.shape, dtype=x.dtype, generator=make) for x in talk.leaves]
    step = 1e-5
    for moved in ((0, 1, 2, 3), (0,), (1,), (2,), (3,)):
        ends = []
        for sign in (step, -step):
            leaves = [
                x.detach() + (sign * way if k in moved else 0)
                for k, (x, way) in enumerate(zip(talk.leaves, ways, strict=True))
            ]
            ends.append(float(talk.compiled(*leaves)[1]))
        slope = sum(float((slopes[k] * ways[k]).sum()) for k in moved)
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-7)


def test_threads_share_the_work():
    """To the last bit, whoever adds to whom."""
    talk = Talk(n=4)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            _, value = talk.compiled(*talk.leaves)
            found.append([value, *torch.autograd.grad(value, talk.leaves)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(bool((a == b).all()) for a, b in zip(found[0], other, strict=True))


def test_what_is_handed_back():
    """To each atom from all who heard it, weighed pair by pair: what Born charges are made of."""
    talk = Talk()
    (one, value), (other, expected) = talk.compiled(*talk.leaves), talk.torch(*talk.leaves)
    weight = talk.leaves[0].detach()[:, 1]
    found, known = (
        x.handed_back(weight, *torch.autograd.grad(total, x.heard, retain_graph=True))
        for x, total in ((one, value), (other, expected))
    )
    assert float(known.abs().max()) > 0.1
    torch.testing.assert_close(found, known, rtol=1e-11, atol=1e-11)


def test_born_charges_of_atomic_charges(monkeypatch):
    """By C++ for the messages, by torch for them alone, and by torch."""
    config = {"level": "u", "layers": 2, "charges": "atomic"}
    potential = random_potential(water_box(n=2), **config)
    asked = ["forces", "born_effective_charges"]

    def born(compile):
        return Evaluator(potential, compile=compile)([water_box(n=2)], asked)[0][asked[1]]

    expected, found = born(False), born(True)
    assert abs(found - expected).max() < 1e-10 < abs(expected).max()
    monkeypatch.setattr(cpu, "message_functions", lambda *_: None)
    assert abs(born(True) - expected).max() < 1e-10


def test_a_second_derivative_is_refused():
    talk = Talk()
    passed, value = talk.compiled(*talk.leaves)
    for total in (value, passed.said.sum()):
        with pytest.raises(RuntimeError, match="`create_graph`"):
            torch.autograd.grad(total, talk.leaves[1], create_graph=True)


def test_nan_comes_through():
    talk = Talk()
    vectors = talk.leaves[0].detach().clone()
    vectors[5, 1] = torch.nan
    passed, _ = talk.compiled(vectors, *talk.leaves[1:])
    silent = passed.heard.isnan().any(0).any(1).nonzero()
    assert silent.tolist() == [[int(talk.atoms.place[talk.pairs.i[5]])]]


def test_weights_that_change_are_noticed():
    potential = random_potential(water_box(n=1), **SIZES)
    system = from_ase(water_box(n=1))
    (part,) = potential.backbone.messages
    names = ["scalar_mix", "sender_mix", "radial_mix", "message_mix.1", "message_scale"]
    for name in names:
        weights = {**dict(part.named_parameters()), **dict(part.named_buffers())}[name]
        before = predict(potential, system, compile=True)["energy"]
        with torch.no_grad():
            weights.mul_(1.1)
        after = predict(potential, system, compile=True)["energy"]
        assert float((after - before).abs()) > 1e-7, name
        torch.testing.assert_close(after, predict(potential, system)["energy"])


def test_edges_are_made_for_torch_alone(monkeypatch):
    potential = random_potential(water_box(n=1), **SIZES)
    made = []
    own = type(potential.backbone)._edges
    monkeypatch.setattr(
        type(potential.backbone), "_edges", lambda *args: made.append(1) or own(*args)
    )
    system = from_ase(water_box(n=1))
    predict(potential, system, compile=True)
    assert not made
    predict(potential, system)
    assert len(made) == 1
