"""Access to the hub, in a process that has imported nothing else."""

import subprocess
import sys

PROGRAM = """
from promptad.backbones.hub_access import is_local_only, local_weights_only
with local_weights_only():
    assert is_local_only()
assert not is_local_only()
"""


def test_weights_are_taken_from_this_machine_alone_before_anything_else_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
