"""An experiment: the whole tree of values that decides what is prepared, trained, searched and kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from rayology.augment import AugmentConfig
from rayology.config import Config, Range, alternatives
from rayology.data import PhantomConfig, PreparationConfig, Sampling, SourceConfig
from rayology.metrics import METRICS
from rayology.models import ModelConfig, VaeConfig, capabilities
from rayology.models.base import MODEL_NAME, BaseModelConfig

__all__ = ["Experiment", "OptimizerConfig", "ScalingConfig", "ScheduleConfig", "SearchConfig"]


COSTS = ("parameters", "ms_per_image")  # of a model, see ``rayology.search.costs``
KINDS: Mapping[str, type[BaseModelConfig]] = {
    str(config.model_fields["kind"].default): config
    for config in alternatives(ModelConfig)
    if issubclass(config, BaseModelConfig)
}
"""Every kind of model, by its name."""


class OptimizerConfig(Config):
    """Adam (Kingma & Ba 2015); its two decay rates come with each phase of the model."""

    lr: Annotated[PositiveFloat, Range(3e-4, 5e-3, log=True)] = 2e-3
    """Learning rate after the warm-up."""
    clip_norm: PositiveFloat = 10.0
    """Norm to which the gradient of a phase is clipped."""
    divergence: Literal["stop", "roll_back"] = "stop"
    """What is done about a loss that is no longer finite, or samples that collapse: stop ends the training, roll_back
    goes on from the last checkpoint with half the learning rate, once."""
    ema_images: PositiveFloat = 10_000.0
    """Half-life of the averaged weights, which are evaluated and kept, in images; at first 5 % of those seen."""


class ScheduleConfig(Config):
    """How long to train, and when to log, evaluate and save."""

    steps: PositiveInt = 2000
    """Training steps. A run that is resumed with more follows the longer schedule from where it is: if it had cooled
    down, its learning rate rises again at once."""
    batch_size: Annotated[int, Field(ge=1, le=2**20)] = 32
    """Images per step, over all workers together."""
    sampling: Sampling = "natural"
    """Order of the images: natural takes each once per epoch, balanced takes every class equally often."""
    warmup_steps: NonNegativeInt = 50
    """Steps over which the learning rate rises from zero."""
    cooldown: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the steps, at the end, over which the learning rate falls to zero."""
    evaluate_every: PositiveInt = 250
    """Steps between two evaluations."""
    checkpoint_every: PositiveInt | None = None
    """Steps between two checkpoints, the most that a lost worker costs; null for one at each evaluation."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Longest time between two checkpoints in minutes, looked at with each line of the history."""
    keep_every: PositiveInt | None = None
    """Steps between two checkpoints that are kept for good; null for the newest two and the best alone."""
    log_every: PositiveInt = 10
    """Steps between two lines of the history."""

    def is_logged(self, step: int) -> bool:
        """Tell whether the history gets a line after so many steps."""
        return self._is_due(step, self.log_every)

    def is_evaluated(self, step: int) -> bool:
        """Tell whether the model is evaluated after so many steps."""
        return self._is_due(step, self.evaluate_every)

    def is_checkpointed(self, step: int) -> bool:
        """Tell whether a checkpoint is written after so many steps."""
        return self._is_due(step, self.checkpoint_every or self.evaluate_every)

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.steps


class ScalingConfig(Config):
    """Hardware and precision of the training."""

    num_workers: PositiveInt = 1
    """Worker processes; each takes one GPU if the training runs on GPUs."""
    min_workers: PositiveInt | None = None
    """Least number of workers: with fewer than num_workers the training goes on, and it takes more as they come; null
    for all of them."""
    cpus_per_worker: PositiveInt = 1
    """CPU cores, and threads, of a worker."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on; auto takes GPUs if the cluster has one for each worker."""
    precision: Literal["auto", "bf16", "float32", "float64"] = "auto"
    """Number format of the forward pass; auto is bf16 if the processor multiplies it in hardware, else float32."""
    microbatches: PositiveInt = 1
    """Pieces of a global batch, rounded up to a multiple of num_workers; more take less memory."""
    out_of_memory: Literal["stop", "split"] = "stop"
    """What is done about a step that takes more memory than there is: stop says what would fit, split doubles the
    microbatches until it fits; the run keeps that number, whose sums may differ in their last bits."""
    cache: Path | None = None
    """Folder on each node's own disk into which the first worker there copies the dataset; null to read the storage in
    place, as is done too if both are one disk or there is no room."""
    max_failures: NonNegativeInt = 3
    """Number of times that a run resumes after losing a worker without a new checkpoint in between."""
    timeout_minutes: PositiveFloat = 30.0
    """Longest time of a step or an evaluation in minutes; a worker that takes longer hangs, and counts as lost."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.least_workers > self.num_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than num_workers {self.num_workers}; lower it")
        return self

    @property
    def least_workers(self) -> int:
        """Number of workers without which no step is taken."""
        return self.min_workers or self.num_workers


class SearchConfig(Config):
    """How a sweep looks for the best experiment."""

    num_trials: PositiveInt = 8
    """Number of trainings, those that repeat finalists among them; a sweep that is resumed may get more."""
    objective: str = "mmd"
    """Validation metric that decides, one that every damage makes worse. Kinds of model without it are left out."""
    tradeoffs: tuple[str, ...] = ()
    """What is weighed against the objective: other metrics, or the costs parameters and ms_per_image. The sweep then
    looks for the whole Pareto front; the champion is still the best by the objective."""
    max_parameters: PositiveInt | None = None
    """Most weights that a bundle may have; null for no limit."""
    max_memory_gb: PositiveFloat | None = None
    """Most memory that a training step may take on a CPU, in GiB; null for no limit."""
    max_ms_per_image: PositiveFloat | None = None
    """Most milliseconds that a CPU core may take for an image, in batches of 8; null for no limit."""
    narrow: dict[str, tuple[float | str, ...]] = Field(default_factory=dict)
    """Dotted paths of marked fields with what to search instead: two bounds of a range, or some of the choices.
    A * stands for any one part between dots, as in model.*.width; a key with fewer stars wins."""
    sampler: Literal["gp", "tpe", "random"] = "gp"
    """What chooses the trials: gp is a Gaussian process over the whole space, tpe Optuna's TPE."""
    startup_trials: PositiveInt = 4
    """Trials before the sampler learns from them: starting points, then points at random."""
    cold: bool = False
    """Begin without what earlier sweeps found."""
    warm_start: tuple[str, ...] = ()
    """Names of earlier sweeps whose records in the store are used; empty for those of the most alike datasets."""
    portfolio: NonNegativeInt = 4
    """Most points of earlier sweeps that are tried, after the experiment as it stands."""
    grace_steps: PositiveInt = 250
    """Steps that every trial may train before ASHA (Li et al. 2020) may stop it."""
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    """Factor by which each rung cuts the trials: 1 in this many goes on."""
    finalists: NonNegativeInt = 5
    """Most trials that are trained again with fresh seeds, to tell the best one from a lucky one; 0 or 1 for none."""
    finalists_share: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    """Share of the budget that the finalists get."""
    hours: PositiveFloat | None = None
    """Hours after which nothing more begins, counted anew when the sweep is resumed; null for no limit."""
    worker_hours: PositiveFloat | None = None
    """Hours of all workers together, which are GPU-hours where they have GPUs, after which nothing more begins."""
    target: float | None = None
    """Value of the objective that is good enough to end the search; null to use up the budget."""
    terminate: bool = False
    """End the search when no better model is to be expected than the noise hides (Makarova et al. 2022)."""
    finish: bool = False
    """Begin no more trials but those that repeat finalists: for a sweep that is resumed to be ended early."""
    show_space: bool = False
    """Show what would be searched, and end."""
    concurrent_trials: PositiveInt | Literal["auto"] = "auto"
    """Trials that run at the same time; auto is as many as the cluster has room for."""
    max_failures: NonNegativeInt = 1
    """Number of times that a trial is retried after its process was lost."""

    @property
    def most_starts(self) -> int:
        """Most trials that are chosen beforehand, the experiment as it stands among them."""
        return max(1, self.num_trials // 2)

    @field_validator("objective")
    @classmethod
    def _sees_every_damage(cls, name: str) -> str:
        fit = [metric.name for metric in METRICS.values() if metric.objective]
        if name not in fit:
            raise ValueError(f"{name!r} is not an objective; write one of: {', '.join(fit)}")
        return name

    @field_validator("tradeoffs")
    @classmethod
    def _can_be_weighed(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = [*METRICS, *COSTS]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{', '.join(unknown)}: cannot be weighed; write some of: {', '.join(known)}")
        return names

    @model_validator(mode="after")
    def _weighs_different_things(self) -> Self:
        if len({self.objective, *self.tradeoffs}) < 1 + len(self.tradeoffs):
            raise ValueError(f"tradeoffs {', '.join(self.tradeoffs)}: name each once, and not the objective")
        return self


class Experiment(Config):
    """Prepare a source, train a model on it, search for a better one, keep the best."""

    name: Annotated[str, Field(pattern=MODEL_NAME.pattern, title="up to 40 of a-z, 0-9 and -")] = "phantom"
    """Name of the model in the store, and first part of the names of runs and sweeps."""
    storage: Path = Path(".rayology")
    """Folder of datasets, runs, sweeps and the store; on a cluster one that every node shares."""
    resume: str = ""
    """Name of the run or sweep to resume, or 'last'; empty to start a new one, 'auto' to do so unless one of this very
    experiment has not ended. A run may get more schedule.steps."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of weights, batches, noise and search; the same one gives the same result, on a GPU up to its rounding."""
    source: SourceConfig = PhantomConfig()
    """Source of the images."""
    preparation: PreparationConfig = PreparationConfig()
    """Size, range of values and splits of the prepared images."""
    augment: AugmentConfig = AugmentConfig()
    """Random transforms of training images; none by default, because a generative model would draw them too."""
    model: ModelConfig = VaeConfig()
    """Model to train."""
    init: dict[str, str] = Field(default_factory=dict)
    """Bundles to start from, by role: 'model' gives the weights of the whole model, as far as a bundle keeps them, also
    to fine-tune them on another dataset, whose images must have the same shape, range and classes. Each is a folder, or
    a model of the store as NAME or NAME/VERSION."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer of the model's weights."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Length of the training, and its periods of logging, evaluation and checkpoints."""
    scaling: ScalingConfig = ScalingConfig()
    """Workers, device and precision of the training."""
    search: SearchConfig = SearchConfig()
    """Settings of a sweep."""

    @field_validator("name")
    @classmethod
    def _is_not_the_pointer(cls, name: str) -> str:
        if name == "champion":
            raise ValueError("'champion' is what a store calls its pointer; write another name")
        return name

    @model_validator(mode="after")
    def _objective_can_be_measured(self) -> Self:
        """Refuse kinds that a sweep names and that have no such figure."""
        wanted = self.search.narrow.get("model.kind", ())
        if blind := [str(kind) for kind in wanted if kind in KINDS and kind not in self.measurable_kinds]:
            raise ValueError(
                f"search.narrow: {' and '.join(blind)} has no {self.search.objective}, the objective; write "
                + (f"some of: {', '.join(self.measurable_kinds)}" if self.measurable_kinds else "another objective")
            )
        return self

    @property
    def measurable_kinds(self) -> tuple[str, ...]:
        """The kinds of model that have the objective, so that a sweep can compare them."""
        needs = METRICS[self.search.objective].needs
        return tuple(kind for kind, config in KINDS.items() if needs in capabilities(config.builds()))

    @model_validator(mode="after")
    def _roles_are_known(self) -> Self:
        """A part of the model that is a model itself has a role of its field's name."""
        fields = type(self.model).model_fields
        parts = {
            name: alternatives(field.annotation) for name, field in fields.items() if alternatives(field.annotation)
        }
        roles = ["model"] + [name for name, kinds in parts.items() if issubclass(kinds[0], BaseModelConfig)]
        if unknown := self.init.keys() - set(roles):
            raise ValueError(
                f"init: a {self.model.kind} has no role {', '.join(sorted(unknown))}; write one of: {', '.join(roles)}"
            )
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        least = self.microbatches * self.model.pack
        if self.schedule.batch_size % least:
            packs = f" of packs of {self.model.pack}" if self.model.pack > 1 else ""
            below, above = (least * (self.schedule.batch_size // least + more) for more in (0, 1))
            near = " or ".join(str(size) for size in (below, above) if size)
            raise ValueError(
                f"schedule.batch_size {self.schedule.batch_size} must be a multiple of {least}, "
                f"the microbatches{packs} of {self.scaling.num_workers} workers; write {near}"
            )
        return self

    @property
    def microbatches(self) -> int:
        """Equal pieces into which a global batch is cut, a multiple of the workers."""
        workers = self.scaling.num_workers
        return -(-self.scaling.microbatches // workers) * workers
