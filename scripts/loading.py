#!/usr/bin/env python3
"""Times the first reading of a folder of pictures beside torchvision's ImageFolder, in turns, and the second start.

    loading.py RESNET FOLDER [ROUNDS]      e.g. loading.py target/release/resnet /tmp/loading 3

Makes the pictures in FOLDER where they are missing: `photos`, 6,000 JPEGs of 500x375 in ten classes, smooth noise of seed
0; and `fashion`, the first 10,000 images of Fashion-MNIST (Debian's package) as PNGs. Both sides decode and resize with two
workers. Needs torch, torchvision, numpy and pillow. Seconds of the clock and of the CPU, since other programs may run."""
import gzip, json, os, resource, shutil, statistics, subprocess, sys, tempfile, time
import numpy as np
from PIL import Image

FASHION = "/usr/share/datasets/fashion-mnist/"


def make_photos(folder):
    random = np.random.default_rng(0)
    for i in range(6000):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        path = f"{folder}/class{i % 10}"
        os.makedirs(path, exist_ok=True)
        picture.save(f"{path}/{i:05}.jpg", quality=90)


def make_fashion(folder):
    read = lambda name: np.frombuffer(gzip.open(FASHION + name).read(), np.uint8)
    images = read("train-images-idx3-ubyte.gz")[16:].reshape(-1, 28, 28)
    labels = read("train-labels-idx1-ubyte.gz")[8:]
    for i in range(10000):
        path = f"{folder}/class{labels[i]}"
        os.makedirs(path, exist_ok=True)
        Image.fromarray(images[i]).save(f"{path}/{i:05}.png")


def timed(who, work):
    """Seconds of the clock and of the CPU that `work` took here or in its processes."""
    spent = lambda: sum(sum(resource.getrusage(of)[:2]) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    start, before = time.monotonic(), spent()
    count = work()
    return {"who": who, "count": count, "wall": time.monotonic() - start, "cpu": spent() - before}


def torchvision_reads(folder, size):
    import torch, torchvision
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    torch.set_num_threads(1)
    data = torchvision.datasets.ImageFolder(folder, Compose([Resize(size), CenterCrop(size), PILToTensor()]))
    loader = torch.utils.data.DataLoader(data, batch_size=256, num_workers=2)
    return sum(len(labels) for _, labels in loader)


def resnet_reads(binary, folder, size, cache):
    command = [binary, "data", folder, "--image-size", str(size), "--json"]
    out = subprocess.run(command, env={**os.environ, "XDG_CACHE_HOME": cache}, check=True, stdout=subprocess.PIPE)
    return sum(row["train"] for row in json.loads(out.stdout)["classes"])


def main():
    binary, root = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    for name, make, size in [("photos", make_photos, 96), ("fashion", make_fashion, 28)]:
        folder = os.path.join(root, name)
        if not os.path.isdir(folder):
            make(folder)
        measured = []
        for _ in range(rounds):
            cache = tempfile.mkdtemp()
            measured.append(timed("torchvision", lambda: torchvision_reads(folder, size)))
            measured.append(timed("resnet", lambda: resnet_reads(binary, folder, size, cache)))
            measured.append(timed("resnet again", lambda: resnet_reads(binary, folder, size, cache)))
            shutil.rmtree(cache)
        medians = {}
        for who in ["torchvision", "resnet", "resnet again"]:
            of = [m for m in measured if m["who"] == who]
            wall, cpu = (statistics.median(m[key] for m in of) for key in ("wall", "cpu"))
            medians[who] = wall, cpu
            count = of[0]["count"]
            print(f"{name} at {size}: {who}: {count} pictures, {wall:.2f} s, {count / wall:.0f} pictures/s, CPU {cpu:.2f} s")
        (wall, cpu), (own_wall, own_cpu) = medians["torchvision"], medians["resnet"]
        print(f"{name}: {wall / own_wall:.2f}x by the clock, {cpu / own_cpu:.2f}x by the CPU's time")


main()
