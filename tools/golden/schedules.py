#!/usr/bin/python3
"""Writes tests/trainer/golden_schedules.h: the learning rates of PyTorch's schedulers.

    apt-get install python3-torch
    /usr/bin/python3 tools/golden/schedules.py > tests/trainer/golden_schedules.h
    clang-format-19 -i tests/trainer/golden_schedules.h
"""
import warnings

import torch
from torch.optim import lr_scheduler

PEAK = 3e-3
# Rises, stands still, is better by less than the threshold, falls, rises late; then never again, until
# a fall is too small to be one.
METRICS = [0.0, 0.1, 0.3, 0.30002, 0.3, 0.29, 0.1, 0.2, 0.31, 0.31, 0.31, 0.31, 0.3, 0.3, 0.5,
           0.50004, 0.50006] + [0.5] * 40


def rates(make, steps, arguments=lambda step: ()):
    """The rate at each of so many steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make(optimizer)
    found = []
    for step in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < steps:
            scheduler.step(*arguments(step))
    return found


def table(name, values):
    print(f"static const double {name}[] = {{{', '.join(f'{v:.17g}' for v in values)}}};")


def main():
    warnings.simplefilter("ignore")
    print("/* Written by tools/golden/schedules.py: rates of torch.optim.lr_scheduler. */")
    print("#ifndef KD_TESTS_TRAINER_GOLDEN_SCHEDULES_H\n#define KD_TESTS_TRAINER_GOLDEN_SCHEDULES_H\n")
    print(f"#define GOLDEN_PEAK {PEAK:.17g}\n")
    for steps in (1, 2, 7, 100):
        table(f"golden_cosine_{steps}",
              rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=steps), steps))
        table(f"golden_cosine_floor_{steps}", rates(
            lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=steps, eta_min=0.02 * PEAK), steps))
    for steps in (2, 3, 10, 97, 100):
        table(f"golden_one_cycle_{steps}", rates(
            lambda o: lr_scheduler.OneCycleLR(o, max_lr=PEAK, total_steps=steps, pct_start=0.3,
                                              anneal_strategy="cos", div_factor=25,
                                              final_div_factor=1e4, cycle_momentum=False), steps))
    table("golden_step", rates(lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.2), 20))
    table("golden_metrics", METRICS)
    table("golden_plateau", rates(
        lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max", patience=3, factor=0.1),
        len(METRICS) + 1, lambda step: (METRICS[step],)))
    print("\n#endif")


if __name__ == "__main__":
    main()
