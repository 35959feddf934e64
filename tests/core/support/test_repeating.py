"""A thread that acts again and again beside a block."""

import threading

from segfw.core.support.repeating import repeating


def test_acts_until_the_block_ends_or_it_has_said_so():
    acted, enough = [], threading.Event()

    def act():
        acted.append(threading.current_thread().name)
        if len(acted) == 3:
            enough.set()
            return True
        return None

    with repeating(act, 0.001, "signs"):
        assert enough.wait(10)
    assert acted == ["signs"] * 3
    with repeating(act, 60.0, "signs"):  # ended before its first time
        pass
    assert len(acted) == 3
    assert not [thread for thread in threading.enumerate() if thread.name == "signs"]
