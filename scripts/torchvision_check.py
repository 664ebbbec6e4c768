"""What `scripts/torchvision_check.sh` checks: torchvision's own networks, with random weights and random running statistics,
against `resnet predict` on pictures of odd sizes; and weights that `resnet train` wrote, in torchvision's own classes."""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torchvision import transforms

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(ROOT / "scripts"))
import resnet_torch  # noqa: E402

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TOLERANCE = 1e-4
# Pillow's JPEG decoder and ours round some levels differently.
JPEG_TOLERANCE = 1e-2
# Of each network the shorter side, the side of the square, and the seeds. None: torchvision's usual 256 and 224.
NETWORKS = {
    "resnet18": (None, [0, 1, 2]),
    "resnet34": ((73, 64), [0, 1, 2]),
    "resnet50": (None, [0, 1, 2]),
    "resnet101": ((73, 64), [0, 1, 2]),
    "resnet152": ((73, 64), [0, 1, 2]),
    "preact18": ((80, 64), [0, 1, 2]),
    "preact50": ((80, 64), [0, 1, 2]),
    "timm": (None, [0]),
    "back": (None, [0]),
}


def resnet(*args):
    """Runs a command; gives its stdout and stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RESNET_")}
    done = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"resnet {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}"
    return done.stdout, done.stderr


def pictures():
    """Files of odd sizes: PNG, with transparency, in 8 bits of grey, JPEG in full and in half colour, turned by EXIF."""
    random = numpy.random.default_rng(0)

    def smooth(height, width, channels):
        small = random.integers(0, 256, (7, 5, channels), numpy.uint8)
        image = Image.fromarray(small.squeeze()).resize((width, height), Image.Resampling.BICUBIC)
        noise = random.integers(-20, 21, numpy.array(image).shape)
        return Image.fromarray((numpy.array(image) + noise).clip(0, 255).astype(numpy.uint8))

    smooth(301, 447, 3).save("wide.png")
    smooth(333, 211, 4).save("transparent.png")
    smooth(97, 131, 1).save("grey.png")
    smooth(255, 299, 3).save("full.jpg", quality=90, subsampling=0)
    smooth(511, 384, 3).save("half.jpg", quality=90)
    turned = Image.Exif()
    turned[0x0112] = 6
    smooth(200, 321, 3).save("turned.png", exif=turned)
    return ["wide.png", "transparent.png", "grey.png", "turned.png", "full.jpg", "half.jpg"]


def prepared(file, resize, size, mean=MEAN, std=STD):
    """As torchvision prepares a picture, upright and on white."""
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode == "RGBA":
        levels = numpy.array(image).astype(numpy.int64)
        alpha = levels[..., 3:]
        image = Image.fromarray(((levels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(numpy.uint8))
    steps = [transforms.Resize(resize), transforms.CenterCrop(size), transforms.ToTensor(), transforms.Normalize(mean, std)]
    return transforms.Compose(steps)(image.convert("RGB"))


def randomised(model, seed):
    """Weights of He's spread, and BatchNorms whose every number is drawn."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    torch.nn.init.normal_(model.fc.weight, 0, 0.05)
    return model.eval()


def network(name, seed):
    if name.startswith("preact"):
        block, blocks = {"preact18": ("pre_act_basic", [2, 2, 2, 2]), "preact50": ("pre_act_bottleneck", [3, 4, 6, 3])}[name]
        stages = [{"blocks": count, "width": width} for count, width in zip(blocks, (64, 128, 256, 512), strict=True)]
        arch = dict(resnet_torch.RESNET18, in_channels=3, classes=1000, stages=stages, block=block, conv_bias=False)
        return randomised(resnet_torch.ResNet(arch), seed)
    if name == "timm":
        import timm

        return randomised(timm.create_model("resnet18"), seed)
    return randomised(getattr(torchvision.models, name)(), seed)


def relative(got, want):
    return (torch.as_tensor(got).double() - want).abs().max().item() / want.abs().max().item()


def forward(name, sizes, seed, files):
    """The worst error of the logits of each picture."""
    model = network(name, seed)
    save_file(model.state_dict(), "model.safetensors")
    flags = ["--resize", sizes[0], "--image-size", sizes[1]] if sizes else []
    out, said = resnet("predict", "model.safetensors", *files, "--json", "--device", "cpu", *flags)
    assert "recognised" in said and "preprocessing for ImageNet" in said, said
    resize, size = sizes or (256, 224)
    batch = torch.stack([prepared(file, resize, size) for file in files])
    with torch.no_grad():
        single = model(batch).double()
        want = model.double()(batch.double())
    worst = {}
    for image, one, wanted in zip(json.loads(out)["images"], single, want, strict=True):
        worst[image["image"]] = relative(image["logits"], wanted)
        worst["PyTorch's own float32"] = max(worst.get("PyTorch's own float32", 0), relative(one, wanted))
    return worst, sizes or (256, 224)


def back():
    """Weights that `resnet train` wrote, in torchvision's own class."""
    train = ["--arch", "resnet50", "--variant", "torchvision", "--image-size", 32, "--batch-size", 8, "--limit-batches", 2]
    more = ["--epochs", 1, "--lr", 0.001, "--mean", 0.286, "--std", 0.353, "--data", "sample", "--device", "cpu"]
    resnet("train", *train, *more, "--out", "run")
    model = torchvision.models.resnet50(num_classes=10)
    model.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)  # one channel, as the images have
    file = max(Path("run").glob("checkpoints/*/weights.safetensors"))
    model.load_state_dict(load_file(file), strict=True)
    count = 16
    out, _ = resnet("predict", "run", "--test-image", ",".join(map(str, range(count))), "--json", "--data", "sample")
    pixels = sample(count)
    images = [Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR) for image in pixels]
    batch = torch.stack([transforms.Normalize([0.286], [0.353])(transforms.ToTensor()(image)) for image in images])
    with torch.no_grad():
        want = model.double().eval()(batch.double())
    return max(relative(image["logits"], w) for image, w in zip(json.loads(out)["images"], want, strict=True))


def sample(count):
    """The first test images inside the program."""
    with gzip.open(ROOT / "src/data/sample/t10k-images-idx3-ubyte.gz") as file:
        return numpy.frombuffer(file.read(), numpy.uint8)[16:][: count * 784].reshape(-1, 28, 28)


def main():
    names = sys.argv[2:] or list(NETWORKS)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        files = pictures()
        print("Largest error of the logits, relative to the largest logit, against PyTorch's float64.\n")
        print("| network | images | seeds | PNG | JPEG | PyTorch's own float32 |\n|---|---|---|---|---|---|", flush=True)
        for name in names:
            sizes, seeds = NETWORKS[name]
            if name == "back":
                worst = back()
                print(f"| resnet50 of `resnet train`, strict=True | 32×32 | 1 | {worst:.1e} | | |", flush=True)
                failed |= worst > TOLERANCE
                continue
            try:
                each = [forward(name, sizes, seed, files) for seed in seeds]
            except ImportError:
                print(f"| {name} | is not there | | | | |", flush=True)
                continue
            resize, size = each[0][1]
            all_of = {key: max(worst[key] for worst, _ in each) for key in each[0][0]}
            png, jpeg = [max(e for f, e in all_of.items() if f.endswith(end)) for end in (".png", ".jpg")]
            own = all_of["PyTorch's own float32"]
            print(f"| {name} | {resize} → {size} | {len(seeds)} | {png:.1e} | {jpeg:.1e} | {own:.1e} |", flush=True)
            failed |= png > TOLERANCE or jpeg > JPEG_TOLERANCE
        os.chdir(ROOT)
    if failed:
        sys.exit(f"logits differ by more than {TOLERANCE}, or {JPEG_TOLERANCE} for JPEG")
    print("\ntorchvision and resnet agree")


main()
