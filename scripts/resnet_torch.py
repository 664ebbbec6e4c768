"""The networks of `resnet` in PyTorch: a plain nn.Module that takes the weights of `resnet train` and gives them back.

    pip install torch safetensors pillow
    resnet torch > resnet_torch.py

    from resnet_torch import load, preprocess, save
    model = load("runs/first")                                   # a run, a checkpoint or a file of weights
    logits = model(preprocess(image, model))                   # image: a PIL image or a uint8 array [h, w] or [h, w, 3]
    model.classes[logits.argmax(1)]
    save(model, "start.safetensors")                           # resnet eval start.safetensors
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

# The chapter's ResNet-18 (d2l.ai, section 7.6), as the metadata of a file of weights describes it.
RESNET18 = {
    "in_channels": 1,
    "classes": 10,
    "stem": 64,
    "stages": [{"blocks": 2, "width": width} for width in (64, 128, 256, 512)],
    "block": "basic",
    "conv_bias": True,
    "shortcut_bn": False,
}

# Output channels per unit of width.
EXPANSION = {"basic": 1, "bottleneck": 4, "pre_act_basic": 1, "pre_act_bottleneck": 4}


class Block(nn.Module):
    """What all blocks share: convolutions of the network's kind, and a projection where the shape changes."""

    def __init__(self, arch, c_in, c_out, stride):
        super().__init__()
        self.bias = arch["conv_bias"]
        self.relu = nn.ReLU()
        self.downsample = None
        if stride != 1 or c_in != c_out:
            norm = [nn.BatchNorm2d(c_out)] if arch["shortcut_bn"] else []
            self.downsample = nn.Sequential(self.conv(c_in, c_out, 1, stride), *norm)

    def conv(self, c_in, c_out, kernel, stride=1):
        return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=self.bias)

    def shortcut(self, x):
        return x if self.downsample is None else self.downsample(x)


class Basic(Block):
    """Two 3×3 convolutions (He et al. 2015, figure 5 left)."""

    def __init__(self, arch, c_in, width, stride):
        super().__init__(arch, c_in, width, stride)
        self.conv1 = self.conv(c_in, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = self.conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(Block):
    """1×1, 3×3 with the stride, 1×1 to four times the width (figure 5 right)."""

    def __init__(self, arch, c_in, width, stride):
        super().__init__(arch, c_in, 4 * width, stride)
        self.conv1 = self.conv(c_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = self.conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = self.conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class PreActBasic(Block):
    """BatchNorm and ReLU before each of two 3×3 convolutions (He et al. 2016)."""

    def __init__(self, arch, c_in, width, stride):
        super().__init__(arch, c_in, width, stride)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = self.conv(c_in, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = self.conv(width, width, 3)

    def forward(self, x):
        a = self.relu(self.bn1(x))
        # A projection takes the activated input, an identity the raw one.
        shortcut = x if self.downsample is None else self.downsample(a)
        return self.conv2(self.relu(self.bn2(self.conv1(a)))) + shortcut


class PreActBottleneck(Block):
    """The same before each convolution of a bottleneck."""

    def __init__(self, arch, c_in, width, stride):
        super().__init__(arch, c_in, 4 * width, stride)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = self.conv(c_in, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = self.conv(width, width, 3, stride)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = self.conv(width, 4 * width, 1)

    def forward(self, x):
        a = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(a)
        y = self.conv2(self.relu(self.bn2(self.conv1(a))))
        return self.conv3(self.relu(self.bn3(y))) + shortcut


BLOCKS = {
    "basic": Basic,
    "bottleneck": Bottleneck,
    "pre_act_basic": PreActBasic,
    "pre_act_bottleneck": PreActBottleneck,
}


class ResNet(nn.Module):
    """A network as `arch` describes it, for images `[n, in_channels, size, size]`; torchvision's names."""

    def __init__(self, arch=RESNET18, size=96, classes=None):
        super().__init__()
        self.arch, self.size = arch, size
        self.preprocessing = {}  # what happens to images besides: resize, mean, std
        self.classes = classes or [str(i) for i in range(arch["classes"])]
        kind, channels = arch["block"], arch["stem"]
        self.pre_activated = kind.startswith("pre_act")
        cifar = arch.get("stem_kind") == "cifar"  # 3×3 without a pool, for small images
        kernel, stride = (3, 1) if cifar else (7, 2)
        self.conv1 = nn.Conv2d(arch["in_channels"], channels, kernel, stride, kernel // 2, bias=arch["conv_bias"])
        if not self.pre_activated:
            self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        self.stages = []  # their names
        for s, stage in enumerate(arch["stages"]):
            blocks = []
            for i in range(stage["blocks"]):
                stride = 2 if s > 0 and i == 0 else 1
                blocks.append(BLOCKS[kind](arch, channels, stage["width"], stride))
                channels = stage["width"] * EXPANSION[kind]
            self.stages.append(f"layer{s + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        if self.pre_activated:
            self.bn_last = nn.BatchNorm2d(channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, arch["classes"])

    def forward(self, x):
        x = self.conv1(x)
        if not self.pre_activated:
            x = self.relu(self.bn1(x))
        x = self.maxpool(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        if self.pre_activated:
            x = self.relu(self.bn_last(x))
        return self.fc(self.avgpool(x).flatten(1))


def load(path):
    """The network of a run (its newest checkpoint), of a checkpoint or of a file of weights, ready to evaluate."""
    file = Path(path)
    if (file / "checkpoints").is_dir():
        file = max(file.glob("checkpoints/step-*"))
    if file.is_dir():
        file = file / "weights.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
    if "resnet" not in metadata:
        raise ValueError(f"{file} does not tell its network: model = ResNet(arch, size); model.load_state_dict(...)")
    info = json.loads(metadata["resnet"])
    if info.get("version", 1) > 2:
        raise ValueError(f"{file} is of a newer version of resnet: print this file again with `resnet torch`")
    preprocessing = info.get("preprocess") or {"size": info["image_size"]}
    model = ResNet(info["arch"], preprocessing["size"], info["classes"])
    model.preprocessing = preprocessing
    model.load_state_dict(load_file(file), strict=True)
    return model.eval()


def preprocess(image, model):
    """An image as `resnet` gives it to a network, `[1, channels, size, size]`: resized as PIL's bilinear filter does, the
    middle cut out where the network's weights say so, 0..1, and normalised if they say so. In the place of a network there
    may be the size of grey images.

    For one channel images are grey, square, light on black and filled by the garment, as in Fashion-MNIST; `resnet predict`
    makes other pictures so first. For three channels they are upright and not transparent.
    """
    import numpy
    from PIL import Image

    grey = isinstance(model, int) or model.arch["in_channels"] == 1
    how = {"size": model} if isinstance(model, int) else {**model.preprocessing, "size": model.size}
    if not isinstance(image, Image.Image):
        image = Image.fromarray(numpy.asarray(image, dtype=numpy.uint8))
    image = image.convert("L" if grey else "RGB")
    size, shorter = how["size"], min(image.size)
    resize = how.get("resize") or size
    sides = [resize if grey or side == shorter else resize * side // shorter for side in image.size]
    image = image.resize(sides, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in sides)
    image = image.crop((left, top, left + size, top + size))
    x = torch.from_numpy(numpy.array(image)).reshape(size, size, -1).permute(2, 0, 1)[None].float() / 255
    if how.get("std"):
        mean, std = (torch.tensor(how[of]).reshape(1, -1, 1, 1) for of in ("mean", "std"))
        x = (x - mean) / std
    return x


def save(model, path):
    """Writes the weights in f32 and what `resnet eval`, `predict` and `train --init` must know about them."""
    info = {"version": 2, "arch": model.arch, "preprocess": {**model.preprocessing, "size": model.size}, "classes": model.classes}
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    save_file(tensors, path, metadata={"resnet": json.dumps(info)})
