"""Who may publish, and what a package may do: keys, signatures, policies and locks.

Imported on each run, to see whether there is something of that; nothing here may cost anything. Settings of the machine are in
``/etc/ecli-py``, those of the user in ``$XDG_CONFIG_HOME/ecli-py``.
"""

from __future__ import annotations

import os

SYSTEM_DIRECTORY = "/etc/ecli-py"
POLICY_FILE = "policy.toml"
LOCK_FILE = "ecli.lock"


def user_directory() -> str:
    """Return the directory of the user's own settings. That of root does not depend on who became root."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # XDG Base Directory Specification: other paths are to be ignored
        base = os.path.join(_home(), ".config")
    return os.path.join(base, "ecli-py")


def _home() -> str:
    if os.geteuid() == 0:  # sudo may have left HOME as it was
        import pwd

        try:
            return pwd.getpwuid(0).pw_dir
        except KeyError:
            return "/root"
    return os.path.expanduser("~")


def directories() -> tuple[str, str]:
    """Return where settings are looked for: the machine's, then the user's."""
    return SYSTEM_DIRECTORY, user_directory()


def policy_paths() -> list[str]:
    """Return the policies that there are, the machine's first."""
    return [path for each in directories() if os.path.lexists(path := os.path.join(each, POLICY_FILE))]


def is_guarded() -> bool:
    """Tell whether a policy or a lock may have something to say about a local file."""
    return os.path.lexists(LOCK_FILE) or bool(policy_paths())
