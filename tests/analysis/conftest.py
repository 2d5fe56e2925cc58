"""What tests of phonopy's files compare with."""

import pytest

from tests.analysis.phonopy_made import in_units, judged, save


@pytest.fixture(scope="session")
def right(tmp_path_factory):
    """Wavenumbers of the springs by phonopy, without and with NAC, from what vasp would write."""
    folder = save(in_units("vasp"), tmp_path_factory.mktemp("vasp"))
    return judged(folder, "vasp", phonopy_yaml="phonopy_disp.yaml", born_filename="BORN")
