"""Small PyTorch modules whose last layers are those of well-known nets, with random weights and statistics."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

with suppress(ImportError):
    import torch
    from torch import nn
    from torch.nn import functional as F

CLASSES = 7


def endings() -> dict[str, Any]:
    """Return modules by the name of the net whose ending they have; `features` is the submodule that is pooled."""

    def conv(inputs: int, outputs: int, *more: Any, kernel: int = 3, stride: int = 2, **options: Any) -> Any:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, **options)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs), *more)

    class Net(nn.Module):
        def __init__(self, features: Any, head: Any) -> None:
            super().__init__()
            self.stem = nn.Sequential(conv(3, 8, nn.ReLU()), nn.MaxPool2d(3, 2, 1))
            self.features = features
            self.head = head

        def forward(self, x: Any) -> Any:
            return self.head(self.features(self.stem(x)))

    class Residual(nn.Module):
        def __init__(self, *convs: Any) -> None:
            super().__init__()
            self.branch = nn.Sequential(*convs)
            self.shortcut = conv(8, 12, kernel=1)

        def forward(self, x: Any) -> Any:
            return F.relu(self.branch(x) + self.shortcut(x))

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = conv(8, 6, stride=1), conv(14, 5, stride=1)
            self.norm = nn.BatchNorm2d(19)

        def forward(self, x: Any) -> Any:
            x = torch.cat([x, F.relu(self.a(x))], 1)
            return F.relu(self.norm(torch.cat([x, F.relu(self.b(x))], 1)))

    class Squeeze(nn.Module):
        """Squeeze-and-excitation, which has a global pooling of its own."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.fc = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, channels, 1), nn.Sigmoid()
            )

        def forward(self, x: Any) -> Any:
            return x * self.fc(x)

    class Branches(nn.Module):
        def __init__(self, *widths: int) -> None:
            super().__init__()
            self.branches = nn.ModuleList(conv(8, width, nn.ReLU()) for width in widths)

        def forward(self, x: Any) -> Any:
            return torch.cat([branch(x) for branch in self.branches], 1)

    class ChannelNorm(nn.LayerNorm):
        def forward(self, x: Any) -> Any:
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    pool, flat = nn.AdaptiveAvgPool2d(1), nn.Flatten(1)
    nets = {
        "resnet18": Net(Residual(conv(8, 12, nn.ReLU()), conv(12, 12, stride=1)), nn.Sequential(pool, flat)),
        "resnet50": Net(
            Residual(conv(8, 4, nn.ReLU(), kernel=1, stride=1), conv(4, 4, nn.ReLU()), conv(4, 12, stride=1)),
            nn.Sequential(pool, flat),
        ),
        "densenet161": Net(Dense(), nn.Sequential(pool, flat)),
        "mobilenet_v2": Net(conv(8, 12, nn.ReLU6()), nn.Sequential(pool, flat, nn.Dropout(0.2))),
        "mobilenet_v3": Net(
            nn.Sequential(Squeeze(8), conv(8, 12, nn.Hardswish())),
            nn.Sequential(pool, flat, nn.Linear(12, 10), nn.Hardswish(), nn.Dropout(0.2)),
        ),
        "inception_v3": Net(Branches(3, 5, 4), nn.Sequential(pool, nn.Dropout(), flat)),
        "efficientnet_b0": Net(
            nn.Sequential(Squeeze(8), conv(8, 12, nn.SiLU())), nn.Sequential(pool, flat, nn.Dropout(0.2))
        ),
        "googlenet": Net(Branches(5, 4, 2, 1), nn.Sequential(pool, flat, nn.Dropout(0.2))),
        "convnext_tiny": Net(
            nn.Sequential(ChannelNorm(8), conv(8, 12, nn.GELU())), nn.Sequential(pool, ChannelNorm(12), flat)
        ),
    }
    for name, net in nets.items():
        net.head.append(nn.Linear(10 if name == "mobilenet_v3" else 12 if name != "densenet161" else 19, CLASSES))
    nets["squeezenet1_1"] = Net(
        nn.Sequential(nn.Dropout(), nn.Conv2d(8, CLASSES, 1), nn.ReLU()), nn.Sequential(pool, flat)
    )
    generator = torch.Generator().manual_seed(1)
    for net in nets.values():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                for values, least, most in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.5, 0.5),
                    (getattr(module, "running_mean", None), -0.3, 0.3),
                    (getattr(module, "running_var", None), 0.5, 2.0),
                ):
                    if values is not None:
                        values.data.uniform_(least, most, generator=generator)
        net.eval()
    return nets
