"""Makes tests/torchvision: what torchvision's preprocessing makes of pictures of odd sizes, and a tiny network of its shape.

    python scripts/golden/pictures.py      PyTorch 2.15, torchvision 0.29, Pillow 13
"""

import sys
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/torchvision"
sys.path.insert(0, str(ROOT / "scripts"))
import resnet_torch  # noqa: E402

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# Height and width of a picture, what its shorter side becomes, and the side of the square.
CASES = [(23, 37, 20, 16), (41, 19, 27, 24), (12, 9, 31, 20), (50, 17, 17, 14)]
# The network is asked about the first picture at this size.
RESIZE, SIZE = 40, 33


def prepared(picture, resize, size):
    cut = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(size)])(Image.fromarray(picture))
    return numpy.array(cut), transforms.Normalize(MEAN, STD)(transforms.ToTensor()(cut))


random = numpy.random.default_rng(0)
tensors = {}
for case, (h, w, resize, size) in enumerate(CASES):
    picture = random.integers(0, 256, (h, w, 3), numpy.uint8)
    pixels, values = prepared(picture, resize, size)
    tensors[f"{case}/picture"] = torch.from_numpy(picture)
    tensors[f"{case}/pixels"] = torch.from_numpy(pixels)
    tensors[f"{case}/sizes"] = torch.tensor([resize, size], dtype=torch.int32)
    if case == 0:
        tensors["0/values"] = values.permute(1, 2, 0).contiguous()
        first = picture

torch.manual_seed(0)
stages = [{"blocks": 1, "width": 2}, {"blocks": 2, "width": 3}]
arch = dict(resnet_torch.RESNET18, in_channels=3, classes=7, stem=2, stages=stages, block="bottleneck", conv_bias=False, shortcut_bn=True)
model = resnet_torch.ResNet(arch, SIZE).eval()
for name, tensor in model.state_dict().items():
    if name.endswith("running_mean"):
        tensor.normal_()
    elif tensor.dim() == 1:
        tensor.uniform_(0.5, 1.5)
model.fc.weight.data.normal_()
save_file(model.state_dict(), OUT / "network.safetensors")
with torch.no_grad():
    tensors["logits"] = model.double()(prepared(first, RESIZE, SIZE)[1][None].double())[0]
save_file(tensors, OUT / "pictures.safetensors")
for file in OUT.iterdir():
    file.chmod(0o644)
