"""The non-local block of "Non-local Neural Networks": every position looks at every other, over space and time."""

from torch import Tensor, nn
from torch.nn import functional as F


class NonlocalBlock(nn.Module):
    """Adds to every position what all positions of its clip say, weighted by how alike they are.

    The output's batch norm starts at zero: a fresh block changes nothing.

    Args:
        channels: C of the input; the block works in half as many.
        affinity: scaled by dim ** -0.5, then a softmax over the positions (embedded_gaussian) or divided by their number
            (dot_product, where the batch norm takes the constant factors out again).
    """

    def __init__(self, channels: int, affinity: str):
        super().__init__()
        if affinity not in ("embedded_gaussian", "dot_product"):
            raise ValueError(f"affinity ({affinity}) must be embedded_gaussian or dot_product")
        self.affinity, inner = affinity, channels // 2
        # 1x1x1 convolutions: on folded frames they are 1x1 ones.
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        for layer in (self.theta, self.phi, self.g, self.out):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Applies the block.

        Args:
            x: folded frames, float [N*T, C, H, W], channels-last.
            num_frames: T.

        Returns:
            The same shape and layout.
        """
        pooled = F.max_pool2d(x, 2)  # 1x2x2: space only
        query, key, value = (
            _positions(layer(source), num_frames) for layer, source in ((self.theta, x), (self.phi, pooled), (self.g, pooled))
        )
        if self.affinity == "embedded_gaussian":
            # One head, named as such: only four axes reach the fused kernels. Scaled by dim ** -0.5.
            seen = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])
        else:
            # Without a softmax the products may be taken in the other order: [dim, dim] instead of [positions, pooled].
            summary = key.transpose(1, 2) @ value / key.shape[1]
            seen = query @ summary * query.shape[2] ** -0.5
        seen = seen.reshape(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)
        out: Tensor = x + self.bn(self.out(seen))
        return out


def _positions(x: Tensor, num_frames: int) -> Tensor:
    """[N*T, C, H, W], channels-last -> [N, T*H*W, C], without a copy."""
    # By its shape: torch.export takes len(x) for a constant, and the number of clips with it.
    return x.permute(0, 2, 3, 1).reshape(x.shape[0] // num_frames, -1, x.shape[1])
