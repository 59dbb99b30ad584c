"""How hypothesis runs: no deadline anywhere (machines differ), and the same examples every time in CI."""

import os

from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("fixed", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("fixed" if os.environ.get("CI") else "here")
