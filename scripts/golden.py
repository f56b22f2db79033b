#!/usr/bin/env python3
"""Makes tests/golden/: what PyTorch and diffusers compute, for our tests to agree with.

    python scripts/golden.py [OUT]        needs torch, diffusers, safetensors, numpy

OUT/unet-*/              a diffusers model folder (config.json, diffusion_pytorch_model.safetensors) with
    input.safetensors    x [n, c, h, w], t [n], dout [n, c, h, w]
    expected.safetensors out, and of sum(out * dout) the gradient dx and that of every parameter by its current name
OUT/paired/              the same for the U-Net of benches/pytorch/paired_unet.py, with weights.safetensors for a model
OUT/{skip-net,resnet-unet,mlp}*/  the same for the networks of scripts/golden_networks.py, with our model.json
OUT/diffusers-loops.json.gz  where the sampling loops of diffusers end, for every setting of their schedulers that we read
OUT/schedulers.json.gz   trajectories of diffusers' DDPM, DDIM, DPM-Solver++ and Heun schedulers on given noise and a given network

Weights and inputs are exact in the type they are stored in; everything else is computed in float64 and stored as
float32 (trajectories: in full). Equal versions of the packages write equal files.
"""

import gzip
import json
import math
import shutil
import sys
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler, UNet2DModel
from diffusers.schedulers import scheduling_ddpm
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches" / "pytorch"))
from golden_networks import Mlp, ResnetUnet, SkipNet  # noqa: E402
from paired_unet import PairedUNet  # noqa: E402

DOWN, ATTN_DOWN, UP, ATTN_UP = "DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"

# Between them: with and without attention at several sizes and in the middle; one and several heads; one and two
# layers; both paddings of the downsampling convolution; both orders and both frequency shifts of the time embedding; the
# time as a bias and as scale and shift (there diffusers leaves out the norm before the middle's attention, unless it is
# given attn_norm_num_groups); current and legacy names; float32 and float16 files; complete and old-style
# configurations; square and oblong images.
UNETS = {
    "unet-plain": dict(
        config=dict(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(4, 4), layers_per_block=2,
            down_block_types=(DOWN, DOWN), up_block_types=(UP, UP), add_attention=False, norm_num_groups=2,
            downsample_padding=1, freq_shift=0, flip_sin_to_cos=True, attention_head_dim=None, time_embedding_dim=8,
        ),
        size=(8, 8), times=(0, 13), dtype=torch.float32, legacy=False,
    ),
    "unet-legacy": dict(
        config=dict(
            sample_size=32, in_channels=3, out_channels=3, block_out_channels=(4, 6, 4), layers_per_block=1,
            down_block_types=(DOWN, ATTN_DOWN, DOWN), up_block_types=(UP, ATTN_UP, UP), norm_num_groups=2,
            downsample_padding=0, freq_shift=1, flip_sin_to_cos=False, attention_head_dim=None, norm_eps=1e-6,
        ),
        size=(12, 20), times=(5,), dtype=torch.float32, legacy=True,
    ),
    "unet-heads": dict(
        config=dict(
            sample_size=(4, 6), in_channels=2, out_channels=3, block_out_channels=(4, 8), layers_per_block=1,
            down_block_types=(ATTN_DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, ATTN_UP), norm_num_groups=4,
            downsample_padding=1, freq_shift=1, flip_sin_to_cos=True, attention_head_dim=2, time_embedding_dim=12,
        ),
        size=(4, 6), times=(2, 0, 29), dtype=torch.float16, legacy=False,
    ),
    "unet-scale-shift": dict(
        config=dict(
            sample_size=4, in_channels=1, out_channels=2, block_out_channels=(4,), layers_per_block=1,
            down_block_types=(DOWN,), up_block_types=(UP,), norm_num_groups=2, attention_head_dim=2,
            resnet_time_scale_shift="scale_shift", time_embedding_dim=4,
        ),
        size=(3, 5), times=(4, 11), dtype=torch.float16, legacy=False,
    ),
}  # fmt: skip
PAIRED = dict(in_channels=1, out_channels=2, channels=(2, 4), layers=2, attention_levels=(1,), groups=2, dropout=0.0)

# Between them: both poolings, both activations, with and without norms and attention; a learned table and an MLP of
# sinusoids; one head and several; the time as it is and as sinusoids. The keys are those of
# our configuration.
NETWORKS = {
    "skip-net-plain": dict(
        architecture="skip-net", size=(4, 8), times=(0, 6),
        config=dict(in_channels=1, out_channels=1, channels=[3, 4, 6], pool="average", activation="relu", groups=0,
                    attention_blocks=[], mid_attention=False, time="table", time_rows=7, time_dim=2),
    ),
    "skip-net-attention": dict(
        architecture="skip-net", size=(6, 10), times=(3, 700),
        config=dict(in_channels=3, out_channels=6, channels=[8, 8], pool="max", activation="silu", groups=4,
                    attention_blocks=[0], mid_attention=True, time="mlp", time_rows=1, time_dim=6),
    ),
    "resnet-unet": dict(
        architecture="resnet-unet", size=(4, 6), times=(0, 31),
        config=dict(in_channels=1, out_channels=2, channels=[4, 4, 8], halvings=1, mid_channels=[8], last_channels=4,
                    layers_per_block=2, heads=2, groups=2, time_dim=4),
    ),
    "mlp-time": dict(
        architecture="mlp", size=(1, 1), times=(1.5, 500, 999, 20),
        config=dict(in_channels=2, out_channels=2, layers=5, width=9, time_dim=0),
    ),
    "mlp-sinusoids": dict(
        architecture="mlp", size=(1, 1), times=(1.5, 999),
        config=dict(in_channels=3, out_channels=6, layers=3, width=8, time_dim=4),
    ),
}  # fmt: skip

# The keys that google/ddpm-cifar10-32 has; a file of 2022 lacks the others.
OLD_KEYS = """_class_name act_fn attention_head_dim block_out_channels center_input_sample down_block_types
    downsample_padding flip_sin_to_cos freq_shift in_channels layers_per_block mid_block_scale_factor norm_eps
    norm_num_groups out_channels sample_size time_embedding_type up_block_types""".split()
LEGACY_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def legacy_name(name: str) -> str:
    for current, legacy in LEGACY_NAMES.items():
        name = name.replace(f".{current}.", f".{legacy}.")
    return name


def randomise(model: torch.nn.Module, generator: torch.Generator, dtype: torch.dtype) -> None:
    """Gives every parameter, norms and biases too, values that are neither 0 nor 1 and exact in `dtype`."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() > 1:
            value = noise / math.sqrt(p[0].numel())
        elif name.endswith("weight"):
            value = 1 + 0.3 * noise
        else:
            value = 0.2 * noise
        p.data = value.to(dtype).float()


def write_case(folder: Path, model: torch.nn.Module, call, shape, out_channels: int, times, generator) -> None:
    """Writes input.safetensors and expected.safetensors, and says how far float32 arithmetic is from the latter."""
    n = len(times)
    x = torch.randn((n, *shape), generator=generator)
    dout = torch.randn((n, out_channels, *shape[1:]), generator=generator)
    t = torch.tensor(times, dtype=torch.float32)
    save_file({"x": x, "t": t, "dout": dout}, folder / "input.safetensors")

    def evaluate(dtype):
        model.to(dtype).zero_grad()
        leaf = x.detach().to(dtype, copy=True).requires_grad_()
        out = call(leaf, t)
        (out * dout.to(dtype)).sum().backward()
        grads = {name: p.grad.double() for name, p in model.named_parameters()}
        return {"out": out.detach().double(), "dx": leaf.grad.double(), **grads}

    single, expected = evaluate(torch.float32), evaluate(torch.float64)
    save_file({name: value.float().contiguous() for name, value in expected.items()}, folder / "expected.safetensors")

    largest = max(value.norm().item() for name, value in expected.items() if name != "out")
    excess = max(
        ((single[name] - g).abs() / (1e-4 * g.abs()).clamp(min=1e-6 * largest)).max().item()
        for name, g in expected.items()
        if name != "out"
    )
    count = sum(p.numel() for p in model.parameters())
    error = (single["out"] - expected["out"]).abs().max().item()
    print(f"{folder.name}: {count} parameters; float32 in PyTorch: out {error:.1e}, gradients {excess:.2f} of the bound")


def write_unet(folder: Path, config: dict, size, times, dtype: torch.dtype, legacy: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = UNet2DModel(**config)
    randomise(model, generator, dtype)
    model.to(dtype).save_pretrained(folder)
    if legacy:
        weights = folder / "diffusion_pytorch_model.safetensors"
        save_file({legacy_name(k): v for k, v in load_file(weights).items()}, weights, {"format": "pt"})
        settings = json.loads((folder / "config.json").read_text())
        settings = {"_diffusers_version": "0.0.4"} | {key: settings[key] for key in OLD_KEYS}
        (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    model = UNet2DModel.from_pretrained(folder)
    shape = (config["in_channels"], *size)
    write_case(folder, model, lambda x, t: model(x, t).sample, shape, config["out_channels"], times, generator)


def write_paired(folder: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    folder.mkdir()
    model = PairedUNet(**PAIRED)
    randomise(model, generator, torch.float32)
    save_file(model.state_dict(), folder / "weights.safetensors", {"format": "pt"})
    write_case(folder, model, model, (PAIRED["in_channels"], 6, 10), PAIRED["out_channels"], (1, 40), generator)


def write_network(folder: Path, architecture: str, size, times, config: dict, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    folder.mkdir()
    model = {"skip-net": SkipNet, "resnet-unet": ResnetUnet, "mlp": Mlp}[architecture](**config)
    (folder / "model.json").write_text(json.dumps({"architecture": architecture} | config) + "\n")
    randomise(model, generator, torch.float32)
    save_file(model.state_dict(), folder / "weights.safetensors", {"format": "pt"})
    write_case(folder, model, model, (config["in_channels"], *size), config["out_channels"], times, generator)


VALUES, STEPS = 4, 10  # of a trajectory


def network(z: torch.Tensor, t: int) -> torch.Tensor:
    """Stands for a trained network: smooth, different at every time, and driving the predicted image past its bounds."""
    return 0.9 * z + 0.4 * torch.sin(2 * z + 0.01 * t)


def trajectory(case: dict, noise: torch.Tensor) -> list[list[float]]:
    """z before the first and after every step. `case` is also what the test reads."""
    train = case["train_steps"]
    kind = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "dpm-solver": DPMSolverMultistepScheduler,
            "heun": HeunDiscreteScheduler}[case["sampler"]]  # fmt: skip
    settings = {"ddpm": {"variance_type": case.get("variance")}, "heun": {"timestep_spacing": "leading"}}
    settings = settings.get(case["sampler"], {})
    if case["sampler"] != "dpm-solver":  # which has no such clipping
        settings |= dict(clip_sample=case["clip"] is not None, clip_sample_range=case["clip"] or 1.0)
    schedule = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[case["schedule"]]
    scheduler = kind(
        num_train_timesteps=train, beta_start=case["beta_first"], beta_end=case["beta_last"], beta_schedule=schedule,
        **settings,
    )  # fmt: skip
    if case["tables"] == "float64":
        beta = torch.linspace(case["beta_first"], case["beta_last"], train, dtype=torch.float64)
        scheduler.alphas_cumprod = torch.cumprod(1 - beta, dim=0)
        scheduler.one = scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    dtype = getattr(torch, case["tables"])
    if case["sampler"] == "heun":
        return heun_trajectory(scheduler, noise)
    scheduler.set_timesteps(STEPS)
    z = noise[0].to(dtype)[None]
    visited = [z[0].tolist()]
    for k, t in enumerate(scheduler.timesteps.tolist()):
        xi = noise[k + 1].to(dtype)[None]
        out = network(z, t)
        if case["sampler"] == "ddpm":
            scheduling_ddpm.randn_tensor = lambda *_, **__: xi  # noqa: B023 the noise of this step
        settings = {}
        if case["sampler"] == "ddim":
            settings = dict(eta=case["eta"], variance_noise=xi if case["eta"] > 0 else None)
        z = scheduler.step(out, t, z, **settings).prev_sample
        visited.append(z[0].tolist())
    return visited


def heun_trajectory(scheduler: HeunDiscreteScheduler, noise: torch.Tensor) -> list[list[float]]:
    """z before the first and after every evaluation. The scheduler walks in y = z / a, at sigma / a, here in float64."""
    scheduler.set_timesteps(STEPS)
    ratio = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    times = [int(t) for t in scheduler.timesteps]
    scheduler.sigmas = torch.cat([ratio[times], torch.zeros(1, dtype=torch.float64)])
    size = (1 + scheduler.sigmas**2).sqrt()  # 1 / a
    y = noise[0][None] * size[0]
    visited = [noise[0].tolist()]
    for k, t in enumerate(times):
        y = scheduler.step(network(y / size[k], t), scheduler.timesteps[k], y).prev_sample
        visited.append((y / size[k + 1])[0].tolist())
    return visited


def write_packed(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def write_schedulers(path: Path, seed: int) -> None:
    noise = torch.randn(STEPS + 1, VALUES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    linear = dict(schedule="linear", train_steps=1000, beta_first=1e-4, beta_last=0.02, clip=1.0, tables="float64")
    short = linear | dict(train_steps=STEPS, beta_first=0.01, beta_last=0.7)  # every time is visited
    small, large = dict(sampler="ddpm", variance="fixed_small"), dict(sampler="ddpm", variance="fixed_large")
    ddim = [dict(sampler="ddim", eta=eta) for eta in (0.0, 0.5, 1.0)]
    cases = [base | sampler for base in (linear, short) for sampler in (small, large, *ddim)]
    cases += [linear | sampler | dict(clip=None) for sampler in (small, ddim[0])]
    # As shipped, with diffusers' own float32 tables; its linear and its cosine schedule.
    cases += [base | sampler | dict(tables="float32") for base in (linear, linear | dict(schedule="cosine"))
              for sampler in (small, large, ddim[1])]  # fmt: skip
    # DPM-Solver++ rounds z to float32 whatever its tables are. The times are its own, here as ours: index + 1.
    times = [1 + round(k * 999 / STEPS) for k in range(1, STEPS + 1)]
    cases += [linear | dict(schedule=name, sampler="dpm-solver", clip=None, tables="float32", times=times)
              for name in ("linear", "cosine")]  # fmt: skip
    cases += [base | dict(sampler="heun", clip=clip) for base, clip in
              ((linear, 1.0), (short, 1.0), (linear, None))]  # fmt: skip
    document = {
        "diffusers": diffusers.__version__,
        "network": "out = 0.9 z + 0.4 sin(2 z + 0.01 t), t the time as the network is told it",
        "noise": noise.tolist(),
        "cases": [case | {"z": trajectory(case, noise)} for case in cases],
    }
    text = ",\n".join(f'"{key}": {json.dumps(value)}' for key, value in document.items()).replace("}, {", "},\n{")
    write_packed(path, "{" + text + "}\n")


TRAINED_BETAS = [0.001 * 1.2**k for k in range(30)]

# What a scheduler_config.json may hold, beside the class: one setting at a time, then some together.
ANY = [dict(), dict(beta_schedule="squaredcos_cap_v2"), dict(beta_schedule="scaled_linear"),
       dict(trained_betas=TRAINED_BETAS, num_train_timesteps=len(TRAINED_BETAS)), dict(num_train_timesteps=200),
       dict(beta_start=0.001, beta_end=0.01), dict(prediction_type="v_prediction"), dict(prediction_type="sample"),
       dict(timestep_spacing="leading"), dict(timestep_spacing="leading", steps_offset=1),
       dict(timestep_spacing="linspace"), dict(timestep_spacing="trailing"),
       dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")]  # fmt: skip
CLIPPED = [dict(clip_sample=False), dict(clip_sample_range=0.6)]
LOOPS = {
    DDPMScheduler: [*ANY, *CLIPPED, dict(beta_schedule="sigmoid"), dict(variance_type="fixed_small_log"),
                    dict(variance_type="fixed_large"), dict(variance_type="fixed_large", timestep_spacing="trailing"),
                    dict(variance_type="learned_range"),
                    dict(variance_type="learned_range", steps_offset=1)],
    DDIMScheduler: [*ANY, *CLIPPED, dict(set_alpha_to_one=False), dict(set_alpha_to_one=False, steps_offset=1)],
    DPMSolverMultistepScheduler: [*ANY, dict(solver_order=1), dict(lower_order_final=False), dict(euler_at_final=True),
                                  dict(final_sigmas_type="sigma_min"), dict(final_sigmas_type="sigma_min", solver_order=1),
                                  dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1)],
}  # fmt: skip


def loop_noise(k: int) -> torch.Tensor:
    """Stands for the noise of step k, 0 for the start."""
    return math.sqrt(2) * torch.sin(12.9898 * k + 78.233 * torch.arange(1, VALUES + 1, dtype=torch.float64) + 0.5)


def loop_end(kind: type, settings: dict, steps: int, eta: float | None) -> list[float]:
    """Where the pipeline's loop ends, in float32 as it ships."""
    scheduler = kind(**settings)
    scheduler.set_timesteps(steps)
    learned = settings.get("variance_type") == "learned_range"
    z = loop_noise(0).float()[None, :, None, None]
    for k, t in enumerate(scheduler.timesteps.tolist()):
        xi = loop_noise(k + 1).float()[None, :, None, None]
        out = network(z, t)
        if learned:
            out = torch.cat([out, torch.sin(3 * z + 0.02 * t)], dim=1)
        scheduling_ddpm.randn_tensor = lambda *_, **__: xi  # noqa: B023 the noise of this step
        options = {} if eta is None else dict(eta=eta, variance_noise=xi if eta > 0 else None)
        z = scheduler.step(out, t, z, **options).prev_sample
    return z.flatten().tolist()


def write_loops(path: Path) -> None:
    cases = []
    for kind, settings in LOOPS.items():
        etas = [0.0, 0.5] if kind is DDIMScheduler else [None]
        for setting in settings:
            train = setting.get("num_train_timesteps", 1000)
            for steps in sorted({min(n, train) for n in (7, 30, 200 if kind is DPMSolverMultistepScheduler else train)}):
                for eta in etas:
                    try:
                        end = loop_end(kind, setting, steps, eta)
                    except IndexError:  # an offset leads beyond the schedule
                        end = [math.nan]
                    config = {"_class_name": kind.__name__} | setting
                    case = {"config": config, "steps": steps} | ({} if eta is None else {"eta": eta})
                    cases.append(case | {"end": end if all(map(math.isfinite, end)) else None})
    lines = ",\n".join(json.dumps(case) for case in cases)
    write_packed(path, f'{{"diffusers": "{diffusers.__version__}", "cases": [\n{lines}\n]}}\n')


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests" / "golden"
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    for seed, (name, case) in enumerate(UNETS.items()):
        write_unet(out / name, **case, seed=seed)
    write_paired(out / "paired", seed=100)
    for seed, (name, case) in enumerate(NETWORKS.items()):
        write_network(out / name, **case, seed=300 + seed)
    write_schedulers(out / "schedulers.json.gz", seed=200)
    write_loops(out / "diffusers-loops.json.gz")
    for file in out.rglob("*.*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    print(f"{out}: {sum(f.stat().st_size for f in out.rglob('*') if f.is_file()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
