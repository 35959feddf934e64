"""Windows through a network on the CPU side by side, each in a thread of its own.

Splitting one window's convolutions among all threads leaves them waiting for one another after every layer: on two
cores that costs a third of the time. Several windows at once, each with its share of the threads, hardly wait.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import torch
from torch import Tensor, nn

from segfw.core.support.attempts import on_error

Compute = Callable[[Tensor], Tensor]


@contextmanager
def side_by_side(network: nn.Module, lanes: int) -> Iterator[Compute]:
    """Yield what computes a batch `(B, C, *F)` with `network`, its samples in up to `lanes` threads; for the CPU.

    The network keeps nothing between its layers that another thread could overwrite. PyTorch's threads are shared out
    among the lanes; a single sample is given all of them.
    """
    threads = torch.get_num_threads()
    lanes = min(lanes, threads)
    if lanes < 2:
        yield network
        return
    started = Barrier(lanes + 1)

    def start() -> None:
        torch.get_num_threads()  # a thread asked for the first time takes the common number, also over one of its own
        torch.set_num_threads(threads // lanes)
        started.wait()

    @torch.inference_mode()
    def one(sample: Tensor) -> Tensor:
        logits: Tensor = network(sample)
        return logits

    def compute(batch: Tensor) -> Tensor:
        return torch.cat(list(pool.map(one, batch.split(1)))) if len(batch) > 1 else network(batch)

    with ThreadPoolExecutor(lanes, "windows", start) as pool:
        # unless they are let go, the pool would wait for threads that wait for this one
        with on_error(lambda _: started.abort(), BaseException):
            beginnings = [pool.submit(int) for _ in range(lanes)]
            started.wait()
        torch.set_num_threads(threads)  # the number that threads begin with is the one that was set last
        for beginning in beginnings:
            beginning.result()
        yield compute
