"""Property tests draw the same examples in every run, so that a failure is the code's and not the draw's.

`pytest --hypothesis-profile=search` draws new ones each time: the way to look for what nobody has seen yet.
"""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("repeatable")
