import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["io", "metrics", "display", "datasets"])
def test_extras_are_imported_when_used_not_before(module):
    code = (
        f"import sys, fastmotion.{module}\n"
        "extras = {'PIL', 'av', 'imageio', 'matplotlib', 'numba', 'skimage', 'tqdm'}\n"
        "print('loaded:', extras & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "loaded: set()\n"
