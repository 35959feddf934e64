"""Text that OmegaConf would take for a reference to another key."""

import re


def escape_references(text: str) -> str:
    """Return `text` as OmegaConf has to be given it to hold it as it is.

    It takes `${` for a reference unless a backslash precedes it, and then halves the backslashes before that one.
    """
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
