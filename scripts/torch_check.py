"""What `scripts/torch_check.sh` checks: the modules that `resnet torch` prints against `resnet` itself, on real test images."""

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import onnxruntime
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(sys.argv[1]).resolve()
IMAGES = 64
CPU = ["--device", "cpu", "--data", "sample", "--batch-size", str(IMAGES)]


def resnet(*args):
    """Runs a command; gives its stdout and stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RESNET_")}
    done = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"resnet {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}"
    return done.stdout, done.stderr


def sample(name, header):
    """The first test images or labels inside the program."""
    with gzip.open(ROOT / "src/data/sample" / name) as file:
        return numpy.frombuffer(file.read(), numpy.uint8)[header:]


def answers(model):
    """PyTorch's probabilities and loss."""
    pixels = sample("t10k-images-idx3-ubyte.gz", 16)[: IMAGES * 784].reshape(-1, 28, 28)
    labels = torch.from_numpy(sample("t10k-labels-idx1-ubyte.gz", 8)[:IMAGES].astype(numpy.int64))
    with torch.no_grad():
        logits = model.eval()(torch.cat([module.preprocess(image, model.size) for image in pixels]))
    return logits.softmax(1).double().numpy(), F.cross_entropy(logits, labels).item()


def compare(what, model, weights, *flags):
    """`resnet predict` and `eval` of weights against PyTorch's answers. Gives what they said on stderr."""
    probabilities, loss = answers(model)
    numbers = ",".join(map(str, range(IMAGES)))
    out, said = resnet("predict", weights, "--test-image", numbers, "--top", "10", "--json", *CPU, *flags)
    worst = 0.0
    for image, want in zip(json.loads(out)["images"], probabilities, strict=True):
        got = {c["class"]: c["probability"] for c in image["classes"]}
        assert set(got) == set(model.classes), got
        worst = max(worst, max(abs(got[c] - p) for c, p in zip(model.classes, want, strict=True)))
    out, said_too = resnet("eval", weights, "--limit-batches", 1, "--json", *CPU, *flags)
    report = json.loads(out)
    off = abs(report["loss"] - loss) / max(1.0, abs(loss))
    print(f"{what}: probabilities within {worst:.1e}, loss {loss:.4f} within {off:.1e}", flush=True)
    assert report["examples"] == IMAGES and worst < 1e-5 and off < 1e-5
    return said + said_too


def plain(model, file, dtype=torch.float32):
    """As people write weights who know nothing of resnet."""
    save_file({name: t.to(dtype) if t.is_floating_point() else t for name, t in model.state_dict().items()}, file)


def trained(size):
    """A run's weights in PyTorch, and back."""
    run, back = f"run-{size}", f"back-{size}.safetensors"
    train = ["--image-size", size, "--limit-batches", 2, "--epochs", 1, "--lr", 0.001]
    resnet("train", *train, "--out", run, *CPU)
    model = module.load(run)
    assert model.size == size and model.classes[9] == "ankle boot"
    compare(f"a run at {size}×{size}", model, run)
    module.save(model, back)
    compare("  saved by save()", module.load(back), back)
    was, now = load_file(max(Path(run).glob("checkpoints/*/weights.safetensors"))), load_file(back)
    assert was.keys() == now.keys() and all(torch.equal(was[name], now[name]) for name in was)
    plain(model, back)
    said = compare("  saved by save_file()", model, back, "--image-size", size)
    assert "recognised" in said and "2,2,2,2" in said and f"{size}×{size} (--image-size)" in said, said
    resnet("train", *train, "--init", back, "--out", f"init-{size}", *CPU)


def every_network():
    """Every block, shortcut and stem, with values that PyTorch gave them, known by their shapes."""
    for block in module.BLOCKS:
        for bias, norm in [(True, False), (False, True)]:
            stages = [{"blocks": b, "width": w} for b, w in [(1, 16), (2, 24), (2, 32)]]
            arch = dict(module.RESNET18, stem=16, stages=stages, block=block, conv_bias=bias, shortcut_bn=norm)
            if norm:
                arch["stem_kind"] = "cifar"
            model = module.ResNet(arch, 32, module.load("run-28").classes)
            for name, buffer in model.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.uniform_(0.5, 1.5)
            for name, weights in model.named_parameters():
                if "bn" in name or "downsample.1" in name:
                    torch.nn.init.uniform_(weights, 0.5, 1.5)
            model.fc.weight.data *= 8  # for answers that differ
            plain(model, "other.safetensors")
            compare(f"{block}, biases {bias}, shortcuts' BatchNorm {norm}", model, "other.safetensors", "--image-size", 32)
            module.save(model, "other.safetensors")
            compare("  saved by save()", model, "other.safetensors")


def a_run_of_another_network():
    """The weights of a pre-activation bottleneck behind a 3×3 stem in PyTorch, and back."""
    network = ["--arch", "resnet50", "--preact", "--stem", "cifar", "--widths", "8,16", "--blocks", "1,2"]
    train = ["--image-size", 28, "--limit-batches", 2, "--epochs", 1, "--lr", 0.001, *network]
    resnet("train", *train, "--out", "run-other", *CPU)
    model = module.load("run-other")
    compare("a run of another network", model, "run-other")
    module.save(model, "back.safetensors")
    resnet("train", *train, "--init", "back.safetensors", "--out", "init-other", *CPU)


def other_types():
    """Halves and doubles are converted."""
    for dtype in [torch.float16, torch.bfloat16, torch.float64]:
        model = module.load("run-28")
        plain(model, "typed.safetensors", dtype)
        compare(f"{dtype}", model.to(dtype).float(), "typed.safetensors", "--image-size", 28)


def documentation():
    """The documentation's Python runs as it stands there."""
    Path("runs").mkdir()
    Path("run-28").rename("runs/first")
    image = sample("t10k-images-idx3-ubyte.gz", 16)[:784].reshape(28, 28)
    Image.fromarray(image).save("boot.png")
    for page in ["README.md", "docs/training.md"]:
        for code in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            exec(compile(code, page, "exec"), {})
            print(f"{page}: its Python runs")
    resnet("eval", "start.safetensors", *CPU)
    onnx = onnxruntime.InferenceSession("first.onnx")
    images = torch.rand(5, 1, 28, 28)
    logits = onnx.run(None, {"images": images.numpy()})[0]
    with torch.no_grad():
        error = (module.load("runs/first")(images) - torch.tensor(logits)).abs().max().item()
    assert error < 1e-5, error
    print(f"first.onnx: logits differ by {error:.1e}")


torch.manual_seed(0)
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    printed, _ = resnet("torch")
    assert printed == (ROOT / "scripts/resnet_torch.py").read_text()
    Path("resnet_torch.py").write_text(printed)
    sys.path.insert(0, folder)
    import resnet_torch as module

    for size in [28, 40]:
        trained(size)
    every_network()
    a_run_of_another_network()
    other_types()
    documentation()
    os.chdir(ROOT)
print("PyTorch and resnet agree")
