"""Small NequIP and Allegro models that nequip itself trains and packs, for several tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from tests.sample_structures import water_box

COMMON = {
    "seed": 1, "model_dtype": "float64", "type_names": ["O", "H"], "r_max": 4.0, "num_layers": 2,
    "l_max": 1, "avg_num_neighbors": 8.0,
}  # fmt: skip
MODELS = {
    "nequip": {
        "_target_": "nequip.model.NequIPGNNModel", **COMMON, "num_features": [4, 3],
        "radial_mlp_width": 8, "per_type_energy_scales": {"H": 1.2, "O": 0.8},
        "per_type_energy_shifts": {"H": -1.0, "O": -20.0},
        "per_type_energy_shifts_trainable": True,
        "pair_potential": {
            "_target_": "nequip.nn.pair_potential.ZBL", "units": "metal",
            "chemical_species": ["O", "H"],
        },
    },
    "allegro": {
        "_target_": "allegro.model.AllegroModel", **COMMON, "num_scalar_features": 8,
        "num_tensor_features": 4, "per_type_energy_shifts": -3.0,
        "per_edge_type_cutoff": {"H": {"H": 2.5, "O": 3.5}, "O": 4.0},
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 6, "spline_span": 4,
        },
    },
}  # fmt: skip
TRAINING = {
    "nequip": {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.5},
    "allegro": {"_target_": "nequip.train.NequIPLightningModule"},
}
FILES = ["nequip.ckpt", "nequip.nequip.zip", "allegro.ckpt", "allegro.nequip.zip"]


def configuration(name, folder):
    """A run of nequip-train: two epochs on a few frames with arbitrary labels."""
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}
    mapper = "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper"
    coeffs = {"total_energy": 1.0, "forces": 1.0}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": 0,
            "split_dataset": {"file_path": str(folder / "frames.xyz"), "train": 0.8, "val": 0.2},
            "transforms": [
                {"_target_": mapper, "model_type_names": COMMON["type_names"]},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 4.0},
            ],
            "train_dataloader": loader, "val_dataloader": loader,
        },
        "trainer": {
            "_target_": "lightning.Trainer", "max_epochs": 2, "accelerator": "cpu",
            "logger": False, "enable_progress_bar": False,
            "callbacks": [{
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                "dirpath": str(folder), "filename": name,
            }],
        },
        "training_module": {
            **TRAINING[name],
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": coeffs},
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceMetrics",
                "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
            },
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": MODELS[name],
        },
    }  # fmt: skip


def trained_files(tmp_path_factory):
    """Folder with checkpoints and packages of both, made once for all processes of the tests."""
    import yaml
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "nequip_files"
    bin_, environment = Path(sys.executable).parent, {**os.environ, "OMP_NUM_THREADS": "1"}
    with FileLock(f"{folder}.lock"):
        if (folder / "done").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        rng, frames = np.random.default_rng(0), []
        for _ in range(5):
            atoms = water_box(n=2)
            atoms.rattle(0.05, rng=rng)
            forces = rng.normal(size=atoms.positions.shape)
            atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=forces)
            frames.append(atoms)
        write(folder / "frames.xyz", frames)
        for name in MODELS:
            (folder / f"{name}.yaml").write_text(yaml.dump(configuration(name, folder)))
            checkpoint, package = folder / f"{name}.ckpt", folder / f"{name}.nequip.zip"
            for command in (
                [bin_ / "nequip-train", "-cp", folder, "-cn", f"{name}.yaml"],
                [bin_ / "nequip-package", "build", checkpoint, package],
            ):
                ran = subprocess.run(
                    list(map(str, command)), cwd=folder, env=environment, capture_output=True,
                    text=True, check=False,
                )  # fmt: skip
                assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
        (folder / "done").touch()
    return folder
