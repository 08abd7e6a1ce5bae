"""Whether the kernel takes what the configuration says."""

from nft import rules
from nft.sets import KernelError
from safeip.config import Config


def refusals(config: Config) -> list[str]:
    """What the kernel has against the ruleset, tried without changing it; a sentence each."""
    try:
        found = rules.check(config.policy, config.custom)
    except (KernelError, PermissionError) as error:
        return [f"{config.path} is good, but the ruleset could not be tried: {error}: run as root"]
    return [f"the kernel refuses the ruleset of {config.path} and {config.custom}: {refusal}" for refusal in found]
