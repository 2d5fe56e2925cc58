"""How hypothesis walks through sequences of calls: the same ones each time, quick ones first."""

from hypothesis import HealthCheck, Phase, settings


def quick(**numbers):
    """Settings without shrinking, which takes minutes: add Phase.shrink to look into a failure."""
    return settings(
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        **numbers,
    )
