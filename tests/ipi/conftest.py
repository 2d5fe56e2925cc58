import pytest

from tests.ipi.helpers import undisturbed


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The undisturbed run that others are compared with."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))
