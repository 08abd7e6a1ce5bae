"""Every run tries the same inputs, so that CI is stable; `--hypothesis-profile=long` looks further."""

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

# Generating may be slow beside other work; that is no reason to fail.
_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "short",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "long",
    database=DirectoryBasedExampleDatabase("build/hypothesis"),
    deadline=None,
    max_examples=5_000,
    suppress_health_check=_SLOW,
    print_blob=True,
)
settings.load_profile("short")
