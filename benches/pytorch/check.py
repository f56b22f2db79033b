"""Shows that the networks of unet.py are ours: from the weights of a checkpoint of ours and the same noisy images, both
sides' output, loss and gradient of every weight are compared, for a small version of each benchmark model.

    python benches/pytorch/check.py [--ddpm target/release/ddpm] [--device cpu]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from unet import build

ROOT = Path(__file__).resolve().parent.parent.parent
# Both sides compute in f32, with sums in other orders.
TOLERANCE = 2e-4
SMALL = {
    "ddpm-cifar10": ["model.image_size=16", "model.channels=[32,64,64]"],
    "mnist-123": ["model.image_size=16", "model.channels=[32,64]", "data.classes=[]"],
    "quickstart": ["model.image_size=8", "model.channels=[16,32,32]"],
    "unet64": ["model.image_size=16", "model.channels=[32,64,64]", "model.attention_levels=[1,2]"],
}
# A step moves the weights that begin as zero, so that every path of the network counts.
BRIEF = ["data.limit=64", "train.batch_size=8", "train.steps=3", "train.warmup_steps=0", "train.sample_every=0", "sample.n=0"]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The f32 tensors of a safetensors file."""
    data = path.read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_bytes])
    header.pop("__metadata__", None)

    def tensor(entry):
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        assert entry["dtype"] == "F32", entry
        return torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items()}


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    header, body = {}, b""
    for name, tensor in tensors.items():
        raw = bytes(tensor.detach().contiguous().float().numpy().tobytes())
        header[name] = dict(dtype="F32", shape=list(tensor.shape), data_offsets=[len(body), len(body) + len(raw)])
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def difference(ours: Tensor, theirs: Tensor, least_scale: float = 0.0) -> float:
    """In units of the largest value, or of `least_scale` where that is more."""
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=least_scale)).item()


def check(preset: str, ddpm: list[str], device: str, folder: Path) -> bool:
    def run(*arguments: str) -> None:
        subprocess.run([*ddpm, *arguments, "--device", device], check=True, stdout=subprocess.DEVNULL)

    settings = [f"--set={setting}" for setting in SMALL[preset] + BRIEF]
    out = folder / preset
    run("train", "--preset", preset, "--data", "glyphs", "--out", str(out), *settings)
    model = tomllib.loads((out / "config.toml").read_text())["model"]
    (checkpoint,) = (out / "checkpoints").glob("*.safetensors")
    prefix = "weights."
    weights = {name[len(prefix) :]: t for name, t in read_tensors(checkpoint).items() if name.startswith(prefix)}
    network = build(model).eval()
    network.load_state_dict(weights)

    torch.manual_seed(0)
    shape = (4, model["in_channels"], model["image_size"], model["image_size"])
    x_0, eps, t = torch.rand(shape) * 2 - 1, torch.randn(shape), torch.tensor([3, 200, 555, 999])
    bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), dim=0)[t][:, None, None, None]
    x_t = bar.sqrt() * x_0 + (1 - bar).sqrt() * eps
    labels = [torch.tensor([0, 7, 3, model["classes"]])] if model["classes"] else []
    theirs = network(x_t, t, *labels)
    theirs.retain_grad()
    loss = F.mse_loss(theirs, eps)
    loss.backward()

    inputs = {"x": x_t, "t": t, "dout": theirs.grad}
    write_tensors(out / "input.safetensors", inputs | ({"y": labels[0]} if labels else {}))
    files = ("--input", str(out / "input.safetensors"), "--out", str(out / "output.safetensors"))
    run("forward", str(checkpoint), "--raw", *files)
    ours = read_tensors(out / "output.safetensors")

    errors = {"output": difference(ours["out"], theirs.detach())}
    errors["loss"] = difference(F.mse_loss(ours["out"], eps), loss.detach())
    # What comes before a norm has gradients whose sum over a group is zero: that of a bias is hardly more than rounding.
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    least_scale = max(gradient.abs().max().item() for gradient in gradients.values()) / 100
    for name, gradient in gradients.items():
        errors[name] = difference(ours[name], gradient, least_scale)
    worst = max(errors, key=errors.get)
    print(
        f"{preset:14} {len(errors) - 2} weights; output differs by {errors['output']:.1e}, loss {loss:.6f} by "
        f"{errors['loss']:.1e}, at most {errors[worst]:.1e} ({worst})"
    )
    return all(error <= TOLERANCE for error in errors.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ddpm", type=Path, default=ROOT / "target" / "release" / "ddpm", help="our binary")
    parser.add_argument("--device", default="cpu", help="what our side computes on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        same = [check(preset, [str(args.ddpm)], args.device, Path(folder)) for preset in SMALL]
    if not all(same):
        sys.exit(f"the networks differ by more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
