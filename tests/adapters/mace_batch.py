"""One structure as MACE's own forward takes it, in float64."""

from contextlib import contextmanager

import torch


@contextmanager
def batch_of(mace, atoms, head=0):
    """Yield the batch, while torch's default type, of which MACE makes tensors, is float64."""
    from mace import data
    from mace.tools import torch_geometric
    from mace.tools.utils import AtomicNumberTable

    heads = [str(h) for h in mace.heads]
    table = AtomicNumberTable([int(z) for z in mace.atomic_numbers])
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        config = data.config_from_atoms(atoms, head_name=heads[head])
        made = data.AtomicData.from_config(
            config, z_table=table, cutoff=float(mace.r_max), heads=heads
        )
        loader = torch_geometric.dataloader.DataLoader([made], batch_size=1)
        yield next(iter(loader)).to_dict()
    finally:
        torch.set_default_dtype(before)
