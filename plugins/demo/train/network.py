"""The digits network: small, but with every structure that quantization has to deal with."""

from torch import Tensor, nn


class ConvUnit(nn.Module):
    """Convolution, batch normalization, ReLU6 (left out when `active` is False)."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(cout)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        y = self.norm(self.conv(x))
        return nn.functional.relu6(y) if self.active else y


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole picture says: `x · σ(W₂ relu(W₁ mean(x)))`."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, channel by channel scaled into 0..1 of itself."""
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return x * self.excite(self.squeeze(pooled).relu()).sigmoid()


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excite, project; added to its input where shapes allow."""

    def __init__(self, cin: int, cout: int, *, expand: int, stride: int, excite: bool) -> None:
        super().__init__()
        inner = cin * expand
        self.expand = ConvUnit(cin, inner, 1)
        self.depthwise = ConvUnit(inner, inner, 3, stride=stride, groups=inner)
        self.excite = SqueezeExcite(inner, inner // 4) if excite else None
        self.project = ConvUnit(inner, cout, 1, active=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        """Apply the parts in order."""
        y = self.depthwise(self.expand(x))
        if self.excite is not None:
            y = self.excite(y)
        y = self.project(y)
        return x + y if self.residual else y


class DigitsNet(nn.Module):
    """Input `(n, 1, 8, 8)`, output `(n, 10)` logits; about five thousand parameters.

    Small on purpose: eight bits lose nothing, and four-bit weights with one scale per tensor
    lose so much that better algorithms show.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvUnit(1, 6, 3)
        self.block1 = InvertedResidual(6, 6, expand=3, stride=1, excite=False)
        self.block2 = InvertedResidual(6, 6, expand=3, stride=1, excite=False)
        self.block3 = InvertedResidual(6, 8, expand=3, stride=2, excite=True)
        self.block4 = InvertedResidual(8, 8, expand=3, stride=1, excite=True)
        self.block5 = InvertedResidual(8, 8, expand=3, stride=1, excite=True)
        self.block6 = InvertedResidual(8, 8, expand=3, stride=1, excite=True)
        self.head = ConvUnit(8, 24, 1)
        self.classifier = nn.Linear(24, 10)

    def blocks(self) -> dict[str, InvertedResidual]:
        """Return the blocks by name, in order."""
        return {n: m for n, m in self.named_children() if isinstance(m, InvertedResidual)}

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.stem(x)
        for block in self.blocks().values():
            x = block(x)
        return self.classifier(self.head(x).mean(dim=(2, 3)))
