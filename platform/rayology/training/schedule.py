"""The learning rate over the course of a training."""

from rayology.experiment import ScheduleConfig

__all__ = ["lr_factor"]


def lr_factor(step: int, schedule: ScheduleConfig) -> float:
    """Return the factor on the learning rate: up over the warm-up, 1, down to zero over the cool-down.

    >>> schedule = ScheduleConfig(steps=100, warmup_steps=10, cooldown=0.5)
    >>> [lr_factor(step, schedule) for step in (0, 9, 50, 75, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.02]
    """
    rising = (step + 1) / max(schedule.warmup_steps, 1)
    falling = (schedule.steps - step) / max(schedule.cooldown * schedule.steps, 1.0)
    return min(rising, 1.0, falling)
