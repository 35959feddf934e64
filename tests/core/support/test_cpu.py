from segfw.core.support import cpu
from segfw.core.support.cpu import available_cores, sharing_cores


def test_cores_are_shared_while_the_block_runs(monkeypatch):
    monkeypatch.setattr(cpu, "_cores", lambda cgroup: 8)
    with sharing_cores(3):
        assert available_cores() == 2
        with sharing_cores(20):
            assert available_cores() == 1
        assert available_cores() == 2
    assert available_cores() == 8
