"""What a run will cost, before it is started: operations counted, memory added up, time from a quick
measurement."""

import copy
import dataclasses
import math
import time

import torch
from torch import Tensor, nn

from fusion.evaluation import forward_flops
from fusion.generator import build_generator
from fusion.method import Contrasting, Inverting
from fusion.networks import ImageSpec, build_network
from fusion.transferring import Transferring
from orchestrator.config import RunConfig
from orchestrator.costs import BYTES, Costs, count

SGD_COPIES, ADAM_COPIES = 3, 4
"""Weights, gradients and the optimiser's moments."""
PROBE_FLOPS = 2e9
"""Of a step that is measured on a CPU, about."""
PROCESS_BYTES = 600 * 2**20
"""What a process takes that has loaded PyTorch and Ray, before it does anything."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one run."""

    costs: Costs
    """One iteration."""
    total_flops: float
    """The whole fusion, warm-up and all parties."""
    party_bytes: float
    """Weights, optimisers and activations at the largest step of a party."""
    student_bytes: float
    """The same of the student, with its copies of the teachers."""


def estimate(config: RunConfig, spec: ImageSpec, teachers: list[str]) -> Estimate:
    """Count a run's operations and add up its memory."""
    settings, schedule, parties = config.fusion_settings(), config.schedule, len(teachers)
    method = config.method
    costs = count(settings, spec, teachers)
    image = (1, spec.channels, spec.size, spec.size)
    generator, student = build_generator(config.generator, spec), build_network(config.student, spec)
    party_bytes, teacher_parameters = 0.0, 0
    for name in teachers:
        teacher = build_network(name, spec)
        teacher_parameters += _parameters(teacher)
        state, kept = float(_parameters(teacher)), method.teacher_passes * _activations(teacher, image)
        assistants = 0.0
        if method.has_generator:
            state += ADAM_COPIES * _parameters(generator)
            kept += _activations(generator, (1, config.generator.latent_dim))
        if isinstance(method, Inverting):
            views = 2 * teacher.feature_channels if isinstance(method, Contrasting) else 0
            state += method.bank_images * (math.prod(image) + views) / 2  # 16 bits a number.
        if isinstance(method, Transferring):
            state += method.share(parties) * math.prod(image) / 2
        if method.critic != "none":
            own = method.critic == "assistant"
            critic = teacher if own and config.assistant == "teacher" else student
            state += (SGD_COPIES if own else 1) * _parameters(critic)
            kept += _activations(critic, image)
            assistants = schedule.batch_size * _activations(critic, image) * own
        step = max(method.images_at_once(schedule.batch_size) * kept, assistants)
        party_bytes = max(party_bytes, BYTES * (state + step))
    critics = (config.method.lag or 0) * _parameters(student)
    student_state = SGD_COPIES * _parameters(student) + critics + teacher_parameters
    union = schedule.share(parties) * parties
    return Estimate(
        costs=costs,
        total_flops=sum(costs.warmup_flops) + schedule.iterations * costs.total_flops,
        party_bytes=party_bytes,
        student_bytes=BYTES * (student_state + union * _activations(student, image)),
    )


def measured_flops_per_second(
    network: str, spec: ImageSpec, device: torch.device, batch_size: int, threads: int
) -> float:
    """Operations a second of training steps with this network, from about a second of them."""
    torch.set_num_threads(threads)
    model = build_network(network, spec).to(device).train()
    one = forward_flops(model, (1, spec.channels, spec.size, spec.size))
    batch = probe_batch(one, batch_size, device)
    images = torch.rand(batch, spec.channels, spec.size, spec.size, device=device)

    def step() -> None:
        model(images).square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < 1.0:
        step()
        steps += 1
    return 3 * one * batch * steps / (time.perf_counter() - started)


def probe_batch(image_flops: float, batch_size: int, device: torch.device) -> int:
    """Images of a step that is measured, in which each takes 3 * `image_flops`."""
    if device.type == "cuda":  # Of fewer than the run's own it shows how fast kernels are launched.
        return max(2, batch_size)
    return int(max(2, min(batch_size, PROBE_FLOPS / (3 * image_flops))))


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _activations(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Numbers that autograd keeps for one image between the forward and the backward pass."""
    twin = copy.deepcopy(network).to("meta").train()
    own = {id(parameter) for parameter in twin.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        if id(tensor) not in own:
            kept[id(tensor)] = tensor.numel()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        twin(torch.empty((2, *shape[1:]), device="meta"))
    return sum(kept.values()) // 2
