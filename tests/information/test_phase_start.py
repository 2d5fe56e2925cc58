"""Trainings that begin with the weights of a model."""

import pytest
import torch
from ase.io import write

from lrcalc.cli import main
from lrcalc.information.phase_intake import measure
from lrcalc.information.phase_labels import evaluate
from lrcalc.information.phase_start import begun
from lrcalc.information.phases import load, save
from tests.information.test_phase_training import SMALL, crystals, made, train
from tests.information.test_phases import triclinic


def trained(species=(), **settings):
    """A model that says something of both, in float64."""
    model = made(species, **settings)
    torch.nn.init.normal_(model.energy[-1].weight)
    return model.requires_grad_(False)


@pytest.mark.parametrize("species", [(), (1, 8)])
def test_more_rounds_begin_with_the_logits_and_the_score_there_were(species):
    old = trained(species, score_rounds=1)
    new = begun(old, list(old.phases), species, rounds=3).double()
    assert new.backbone.rounds == 3
    assert new.score_rounds == 1
    assert new.backbone.n_scalars == old.backbone.n_scalars + 2 * old.backbone.n_each
    system = measure(old, triclinic()).system
    for one, two in zip(evaluate(new, system), evaluate(old, system), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
    # and labels hear of the new rounds, the score does not
    first = new.classes[0].weight
    torch.nn.init.normal_(first)
    assert (evaluate(new, system).chances - evaluate(old, system).chances).abs().max() > 1e-3
    torch.testing.assert_close(evaluate(new, system).energy, evaluate(old, system).energy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": ["hcp", "bcc"]}, r"other phases or species .* \(salt\)"),
        ({"species": (1, 8)}, "other phases or species than"),
        ({"cutoff": 1.5}, "`cutoff` is 1.5, that of `start` 2.0: leave it out"),
        ({"rounds": 0}, "`rounds` is 0, that of `start` 1: they may only become more"),
    ],
)
def test_another_model_is_refused(change, message):
    given = {"phases": ["bcc", "hcp", "salt"], "species": ()} | change
    with pytest.raises(ValueError, match=message):
        begun(trained(), **given)


def test_a_command_begins_with_a_model_and_keeps_its_score(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("c.xyz", crystals())
    old, _ = train(crystals(), made(width=4).float(), SMALL)
    save(old, "old.pt")
    line = "phases train --structures c.xyz --start old.pt --rounds 2 --steps 0 --label-steps 4"
    line += " --label-crystals 3 --validate-copies 1 --familiar-copies 0 --out new.pt"
    assert main(line.split()) == 0
    old, new = load("old.pt"), load("new.pt")
    assert new.metadata["training"]["start"] == "old.pt"
    assert (new.classes[0].weight[:, old.backbone.n_scalars :] != 0).any()
    system = measure(old, triclinic()).system
    torch.testing.assert_close(evaluate(new, system).energy, evaluate(old, system).energy)
    scale = new.backbone.scale[len(old.backbone.scale) :]
    assert (scale != 1).all()
    assert torch.isfinite(scale).all()
