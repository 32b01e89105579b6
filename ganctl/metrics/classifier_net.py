"""The network of the classifiers: small, for images of any native size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_RESOLUTION = 8


class Classifier(nn.Module):
    """A small convolutional classifier for native-size images.

    A stem at half the width, then stages that each halve the image until it is about 8 × 8 (at least two),
    one residual convolution, and the mean over positions: those 2·width numbers are the features.

    Args:
        channels: image channels C.
        resolution: image height and width, at least 8.
        num_classes: K.
        width: channels of the first halved stage; the last has twice as many.
        batch_norm: normalise behind each convolution. Only training needs it: `folded` removes it.
    """

    def __init__(
        self, channels: int, resolution: int, num_classes: int, width: int = 48, batch_norm: bool = False
    ) -> None:
        super().__init__()
        if resolution < MIN_RESOLUTION:
            raise ValueError(f"resolution must be at least {MIN_RESOLUTION}, got {resolution}")
        self.channels = channels
        self.resolution = resolution
        self.num_classes = num_classes
        self.width = width
        self.feature_dim = 2 * width

        def conv(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
            layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, 3, stride, padding=1)]
            return nn.Sequential(*layers, nn.BatchNorm2d(c_out) if batch_norm else nn.Identity(), nn.ReLU())

        stages = [conv(channels, width // 2)]
        c_in = width // 2
        halvings = max(2, (-(-resolution // 8) - 1).bit_length())  # ceil(log2(resolution / 8))
        for i in range(halvings):
            c_out = min(width * 2**i, self.feature_dim)
            stages += [conv(c_in, c_out, stride=2), conv(c_out, c_out)]
            c_in = c_out
        self.stages = nn.Sequential(*stages)
        self.residual = conv(self.feature_dim, self.feature_dim)
        self.head = nn.Linear(self.feature_dim, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (N, C, H, W) float in [-1, 1] -> logits (N, K), features (N, feature_dim) ≥ 0."""
        x = self.stages(images)
        features = (x + self.residual(x)).mean(dim=(2, 3))
        return self.head(features), features

    def folded(self) -> Classifier:
        """The same function in evaluation mode without BatchNorm: its scale and shift join the weights."""
        plain = Classifier(self.channels, self.resolution, self.num_classes, self.width)
        for source, target in zip(
            [*self.stages, self.residual], [*plain.stages, plain.residual], strict=True
        ):
            convolution, norm = source[0], source[1]
            if isinstance(norm, nn.BatchNorm2d):
                # eval() because the running statistics, not the batch's, are what is folded.
                convolution = torch.nn.utils.fusion.fuse_conv_bn_eval(convolution.eval(), norm.eval())
            target[0].load_state_dict(convolution.state_dict())
        plain.head.load_state_dict(self.head.state_dict())
        return plain.eval()

    @property
    def arguments(self) -> dict[str, int]:
        """What rebuilds the folded network: `Classifier(**arguments)`."""
        return {
            "channels": self.channels,
            "resolution": self.resolution,
            "num_classes": self.num_classes,
            "width": self.width,
        }


class StackedClassifier(nn.Module):
    """A classifier of single images, applied to each channel of stacked ones: modes for its labels.

    The logits of modes are the sums of the channels' logits. The largest is that of each channel's largest,
    and the softmax over modes is the product of those of the channels.

    Args:
        single: images (N, 1, H, W) -> logits (N, K), features (N, d).
    """

    channels = 3

    def __init__(self, single: Classifier) -> None:
        super().__init__()
        self.single = single
        self.resolution = single.resolution
        self.num_classes = single.num_classes**3
        self.feature_dim = 3 * single.feature_dim

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (N, 3, H, W) float in [-1, 1] -> logits (N, K³), that of labels a, b, c at a·K² + b·K + c;
        features (N, 3·d), those of the channels one after the other.
        """
        logits, features = self.single(images.reshape(-1, 1, self.resolution, self.resolution))
        a, b, c = logits.unflatten(0, (-1, 3)).unbind(1)
        joint = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]
        return joint.flatten(1), features.view(len(images), -1)
