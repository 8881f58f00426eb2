"""A toy world with a Gaussian code, and conditional models of it whose faults are known."""

import torch

N, N_KNOWN, NOISE = 64, 16, 0.2  # dimensions of the code, of z, and the noise of the encoder
FLOWS = ["exact", "x0.2", "x0.5", "x0.9", "x1.5", "ignores z", "half of the dimensions", "half of the mean"]
OPEN = N - N_KNOWN + N * NOISE**2  # variance that z leaves open, summed over the dimensions
TOTAL = N * (1 + NOISE**2)


def sampled(flow, n, k=8, seed=0):
    """Codes (n, N) = x + N(0, 0.2²), x ~ N(0, 1); samples (n, k, N) of a flow; z (n, 16), the first dimensions of x.

    Flows: exact; with the standard deviation of the exact one times a factor; of the codes of other images; that uses
    only half of the dimensions of z; that predicts z/2, with the variance that keeps the distribution of all codes.
    """
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, n, N, generator=generator)
    v = torch.randn(n, k, N, generator=generator)
    weight = torch.zeros(N)
    weight[: {"ignores z": 0, "half of the dimensions": N_KNOWN // 2}.get(flow, N_KNOWN)] = 1
    weight *= 0.5 if flow == "half of the mean" else 1
    spread = (1 - weight**2 + NOISE**2).sqrt() * (float(flow[1:]) if flow.startswith("x") else 1)
    return x + NOISE * noise, weight * x[:, None] + spread * v, x[:, :N_KNOWN]
