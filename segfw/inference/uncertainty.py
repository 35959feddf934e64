"""How far the samples of a model disagree: epistemic uncertainty, what more training data would reduce.

Samples are Monte Carlo draws of a network with dropout (Gal, Ghahramani, ICML 2016), or the folds of a model
(Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017), or both. The measure is the mutual information of prediction and
model (Houlsby et al. 2011; Smith, Gal, UAI 2018), in nats:

    I = H(mean of p) - mean of H(p)        H(p) = -sum over labels of p log p

0 where all samples agree, however unsure each is by itself, at most the logarithm of the number of labels. With regions
the entropies of their sigmoids are summed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from segfw.core.errors import UsageError
from segfw.core.settings.schema import InferenceSettings
from segfw.nn.build import draw_dropout, has_dropout

SMALLEST = 1e-7
"""Probabilities below it are not told apart; their logits still fit float16."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """What samples say together: float16 logits `(heads, d0, d1, d2)`, and their disagreement `(1, d0, d1, d2)`.

    The mean of folds is that of their logits, as in prediction without uncertainty; that of Monte Carlo samples is of
    their probabilities, which makes it the predictive distribution.
    """

    logits: Tensor
    disagreement: Tensor


@torch.inference_mode()
def sample_logits(
    networks: Sequence[nn.Module],
    compute: Callable[[nn.Module], Tensor],
    settings: InferenceSettings,
    has_regions: bool,
) -> Sampled:
    """Let every network, or `settings.samples` draws of one with dropout, `compute` its logits of a case, and compare.

    The same seed gives the same draws for every case. Holds two maps of float32 beside that of the sample at hand.
    """
    drawn = any(has_dropout(network) for network in networks)
    mean = probabilities = entropy = torch.zeros(())
    count = 0
    for number, network in enumerate(networks):
        for sample in range(settings.samples if has_dropout(network) else 1):
            draw_dropout(network, _generator(settings.seed, number, sample))
            logits = compute(network)
            if not count:
                mean, probabilities = (torch.zeros_like(logits, dtype=torch.float32) for _ in range(2))
                entropy = torch.zeros_like(mean[:1])
            for plane in range(logits.shape[1]):
                values = logits[:, plane].float()
                p = values.sigmoid() if has_regions else values.softmax(0)
                probabilities[:, plane] += p
                entropy[:, plane] += entropies(p, has_regions)
                if not drawn:
                    mean[:, plane] += values
            count += 1
        draw_dropout(network, None)
    for plane in range(entropy.shape[1]):
        p = probabilities[:, plane] / count
        entropy[:, plane] = (entropies(p, has_regions) - entropy[:, plane] / count).clamp_min(0)
        if drawn:
            p.clamp_(SMALLEST, 1 - SMALLEST)
            mean[:, plane] = p.logit() if has_regions else p.log()
    return Sampled((mean if drawn else mean / count).half(), entropy)


def entropies(probabilities: Tensor, has_regions: bool) -> Tensor:
    """Return the entropy `(1, ...)` of `(heads, ...)`: of one distribution over labels, or the sum over regions."""
    values: Tensor = torch.special.entr(probabilities)
    if has_regions:
        values = values + torch.special.entr(1 - probabilities)
    return values.sum(0, keepdim=True)


def check_can_disagree(networks: Sequence[nn.Module], names: Sequence[str]) -> None:
    """Raise `UsageError` for a model that has a single opinion: one fold without dropout. `names`: of its networks."""
    if len(networks) < 2 and not any(has_dropout(network) for network in networks):
        raise UsageError(
            "inference.uncertainty compares Monte Carlo samples (train with network=bayesian_unet) or several folds; "
            f"this model is one fold of {', '.join(names)}"
        )


def _generator(seed: int, network: int, sample: int) -> torch.Generator:
    state = np.random.SeedSequence((seed, network, sample)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)
